-- Whether the key of `m` was made of its content: such a UUID is of version 5.
m.key ~ '^[0-9a-f]{{8}}-[0-9a-f]{{4}}-5[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}$'
