-- Submissions with the same key wait for each other, so that the look for an earlier one is
-- final. Ends with the transaction, so it works behind a transaction pooler.
select pg_advisory_xact_lock(hashtextextended($1 || e'\n' || $2, 0))
