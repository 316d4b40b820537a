'lakemem_' || md5({schema_text})
