-- Importance that falls with age: what was said of it is kept, so that it can be told anew at any time.
ALTER TABLE {schema}.memories ADD COLUMN said_importance real CHECK (said_importance BETWEEN 0 AND 1);
