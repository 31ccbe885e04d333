//! Who did what, where only the application may do something: `public.note()` is for triggers of the
//! live table and of those that point to it.

/// Sessions of the application, by their names.
const APPLICATION: &str = "^(writer |postman)";

/// The table of those who were not to be there, and the function.
pub(super) fn make() -> String {
    format!(
        "CREATE TABLE public.suspect (what text, how text, who text);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $note$
         BEGIN
             IF pg_catalog.current_setting('application_name') OPERATOR(pg_catalog.!~) '{APPLICATION}'
             THEN
                 INSERT INTO public.suspect
                     VALUES (TG_RELID::regclass, TG_OP, pg_catalog.current_setting('application_name'));
             END IF;
             RETURN coalesce(NEW, OLD);
         END
         $note$"
    )
}

/// All of them.
pub const SUSPECTS: &str = "SELECT pg_catalog.concat_ws(' ', what, how, who) FROM public.suspect";
