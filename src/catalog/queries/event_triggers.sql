-- Event triggers that fire on what a deployment does, in the order in which they fire.
SELECT e.evtname::text AS name, e.evtevent::text AS event, e.evttags AS tags,
       p.proname::text AS function_name
  FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
 WHERE e.evtenabled IN ('O', 'A') AND e.evtevent <> 'login'
 ORDER BY e.evtname
