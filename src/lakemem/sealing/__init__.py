"""Which parameters of which statements are sealed, and which columns are opened: all that encryption knows of SQL.

An operation says what is stored, and this says it again with the texts sealed; the rows that come back are opened
before the operation reads them. So no operation knows whether what it stores is encrypted.
"""
