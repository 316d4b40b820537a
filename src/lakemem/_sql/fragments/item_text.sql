-- The text of the item `i`: what was said, or what a tool answered; no other field of it.
(
    SELECT CASE jsonb_typeof(doc->'content')
        WHEN 'string' THEN doc->>'content'
        WHEN 'array' THEN (
            SELECT string_agg(part, ' ')
            FROM jsonb_array_elements_text(
                jsonb_path_query_array(doc, '$.content[*] ? (@.type() == "string")')
                || jsonb_path_query_array(doc, '$.content[*].text ? (@.type() == "string")')
                || jsonb_path_query_array(doc, '$.content[*].refusal ? (@.type() == "string")')
            ) AS part
        )
        ELSE (
            SELECT string_agg(part, ' ')
            FROM jsonb_array_elements_text(
                jsonb_path_query_array(doc, '$.output[*] ? (@.type() == "string")')
                || jsonb_path_query_array(doc, '$.output[*].text ? (@.type() == "string")')
                || jsonb_path_query_array(doc, '$.summary[*].text ? (@.type() == "string")')
                || jsonb_path_query_array(doc, '$.text ? (@.type() == "string")')
            ) AS part
        )
    END
    FROM (
        -- jsonb knows neither NUL nor lone surrogates, nor numbers of a hundred thousand digits. Only an item with
        -- escapes, or of that size, needs to be looked at for them.
        SELECT CASE
            WHEN strpos(i.item::text, '\u') = 0 AND octet_length(i.item::text) < 100000 THEN i.item::text::jsonb
            WHEN pg_input_is_valid(i.item::text, 'jsonb') THEN i.item::text::jsonb
            WHEN pg_input_is_valid(without.unknown, 'jsonb') THEN without.unknown::jsonb
        END AS doc
        FROM (
            SELECT regexp_replace(
                i.item::text, '(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{{2}})', '\1 ', 'gi'
            ) AS unknown
        ) AS without
        OFFSET 0
    ) AS parsed
)
