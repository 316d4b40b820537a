-- A part of other statements: whether the value of a memory meets every condition on its fields.
(%(conditions)s::jsonb = '[]' OR NOT EXISTS (
    SELECT
    FROM jsonb_to_recordset(%(conditions)s::jsonb) AS condition (path text[], operator text, operand jsonb)
    CROSS JOIN LATERAL (
        -- jsonb knows neither NUL nor lone surrogates: they are left out where there are any.
        SELECT coalesce(
            CASE WHEN pg_input_is_valid(value::text, 'jsonb') THEN value::text::jsonb
                ELSE regexp_replace(
                    value::text, '(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{{2}})', '\1', 'gi'
                )::jsonb
            END #> condition.path, 'null'
        ) AS field, coalesce(condition.operand, 'null') AS operand
    ) AS found
    WHERE NOT CASE condition.operator
        WHEN 'is object' THEN jsonb_typeof(found.field) = 'object'
        WHEN '$eq' THEN found.field = found.operand
        WHEN '$ne' THEN found.field <> found.operand
        ELSE jsonb_typeof(found.field) = jsonb_typeof(found.operand) AND CASE condition.operator
            WHEN '$gt' THEN found.field > found.operand
            WHEN '$gte' THEN found.field >= found.operand
            WHEN '$lt' THEN found.field < found.operand
            WHEN '$lte' THEN found.field <= found.operand
        END
    END
))
