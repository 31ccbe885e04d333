//! How long a swap holds its locks: from the first ACCESS EXCLUSIVE lock to the commit, as the
//! extension logs it, on a table with four indexes, two foreign keys to it and two views, at two
//! sizes.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use postgres::{Client, NoTls};
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::session::execute;
use super::table::Name;
use super::{Arguments, OWNER, median, save};
use crate::cluster::Cluster;
use crate::setup::Workspace;

/// Milliseconds, at most.
const GOAL: f64 = 10.0;
/// The time at the larger size by that at the smaller one, at most: it does not depend on the size.
const GOAL_GROWTH: f64 = 1.3;
/// How much larger the second table is.
const FACTOR: i64 = 50;

/// What hangs on the table.
const DEPENDENTS: &str = "
    CREATE TABLE public.orders (id bigint PRIMARY KEY, customer bigint REFERENCES public.users);
    CREATE TABLE public.logins (id bigint PRIMARY KEY, who bigint REFERENCES public.users ON DELETE CASCADE);
    CREATE VIEW public.names AS SELECT id, name FROM public.users;
    CREATE VIEW public.counts AS SELECT count(*) FROM public.names;
    ALTER TABLE public.orders OWNER TO app;
    ALTER TABLE public.logins OWNER TO app;";

/// All runs, as they are saved: milliseconds of each swap and revert.
#[derive(Debug, Serialize)]
struct Runs {
    sizes: Vec<i64>,
    milliseconds: Vec<Vec<f64>>,
}

/// Runs both sizes, prints and saves them.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let swaps = if arguments.quick { 4 } else { 20 };
    let large = arguments.rows(1_000_000);
    let sizes = vec![large / FACTOR, large];
    let mut runs = Runs { sizes: sizes.clone(), milliseconds: Vec::new() };
    let mut medians = Vec::new();
    for rows in sizes {
        let mut place = Place::fill(Name::Users.table(), rows)?;
        place.settle()?;
        execute(&mut place.admin, DEPENDENTS)?;
        let times = swaps_of(&place.cluster, swaps)?;
        let middle = median(times.iter().copied());
        let worst = times.iter().copied().fold(0.0, f64::max);
        println!(
            "lock: {rows} rows, {} swaps and reverts: median {middle:.1} ms, worst {worst:.1} ms",
            times.len()
        );
        medians.push(middle);
        runs.milliseconds.push(times);
    }
    judge.at_most("a swap's locks are held at the larger size", medians[1], GOAL, " ms");
    judge.at_most("the same by the smaller size", medians[1] / medians[0], GOAL_GROWTH, "");
    save(workspace, "lock", &runs)
}

/// Swaps and reverts, each in a session of its own, as a migration would call it.
fn swaps_of(cluster: &Cluster, count: usize) -> Result<Vec<f64>> {
    let execute = |sql: &str| -> Result<Option<f64>> {
        let (mut client, heard) = listener(cluster)?;
        client.batch_execute(sql).with_context(|| sql.to_owned())?;
        let heard = heard.lock().map_err(|_| anyhow::anyhow!("a notice could not be read"))?;
        Ok(heard.iter().find_map(|notice| milliseconds(notice)))
    };
    execute("SELECT bg_prepare('users', 'ADD COLUMN phone text')")?;
    execute("CALL bg_run('users')")?;
    let mut times = Vec::new();
    for number in 0..count {
        let verb =
            if number % 2 == 0 { "SELECT bg_swap('users')" } else { "SELECT bg_revert('users')" };
        match execute(verb)? {
            Some(time) => times.push(time),
            None => bail!("{verb} did not log how long it held its locks"),
        }
        execute("CALL bg_run('users')")?;
    }
    Ok(times)
}

type Heard = Arc<Mutex<Vec<String>>>;

/// A session of the owner's that hears what is logged.
fn listener(cluster: &Cluster) -> Result<(Client, Heard)> {
    let heard = Heard::default();
    let mut config = cluster.config(OWNER, "postgres");
    let hears = Arc::clone(&heard);
    config.notice_callback(move |notice| {
        if let Ok(mut heard) = hears.lock() {
            heard.push(notice.message().to_owned());
        }
    });
    let mut client = config.connect(NoTls).context("connecting as the owner")?;
    client.batch_execute("SET client_min_messages = log").context("SET client_min_messages")?;
    Ok((client, heard))
}

/// The time in what the extension logs at the commit of a swap.
fn milliseconds(message: &str) -> Option<f64> {
    let after = message.split("held its locks for ").nth(1)?;
    after.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn the_time_is_found_in_the_message() {
        let message = "bg_swap of public.users held its locks for 7.9 ms (locks 0.1, check 1.4)";
        assert_eq!(milliseconds(message).map(|ms| (ms * 10.0) as i64), Some(79));
        assert_eq!(milliseconds("something else"), None);
    }
}
