//! How long a swap holds its locks: from the first ACCESS EXCLUSIVE lock to the commit, as the
//! extension logs it, on a table with four indexes, two foreign keys to it and two views, at two
//! sizes.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use postgres::{Client, NoTls};
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::session::execute;
use super::side::{BySide, Side, Sides};
use super::table::Name;
use super::{Arguments, OWNER, median, save};
use crate::cluster::Cluster;
use crate::setup::Workspace;

/// Milliseconds, at most.
const GOAL: f64 = 10.0;
/// The time at the larger size by that at the smaller one, at most: it does not depend on the size.
const GOAL_GROWTH: f64 = 1.3;
/// Milliseconds more than another commit, at most.
const GOAL_ADDED: f64 = 2.0;
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

/// All runs of one size, as they are saved: milliseconds of each swap and revert.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    /// By that of the other commit, and less it.
    ratio: Option<f64>,
    added_ms: Option<f64>,
    milliseconds: Vec<BySide<f64>>,
}

/// Runs both sizes, prints and saves them.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    sides: &Sides,
    judge: &mut Judge,
) -> Result<()> {
    let swaps = if arguments.quick { 4 } else { 20 };
    let large = arguments.rows(1_000_000);
    let (mut all, mut medians) = (Vec::new(), Vec::new());
    for rows in [large / FACTOR, large] {
        let places = sides.in_turn(0, |side| prepared(side, rows))?;
        let milliseconds = swaps_of(sides, places, swaps)?;
        let of = |side: fn(&BySide<f64>) -> Option<f64>| milliseconds.iter().filter_map(side);
        let middle = print(sides.name(Side::Ours), rows, of(|pair| Some(pair.ours)));
        let mut added_ms = None;
        if sides.beside().is_some() {
            let theirs = print(sides.name(Side::Beside), rows, of(|pair| pair.beside));
            added_ms = Some(middle - theirs);
        }
        let what = format!("lock: {rows} rows");
        let ratio = sides.ratio(&what, &milliseconds, |time| *time);
        if let Some((added, name)) = added_ms.zip(sides.beside()) {
            let what = format!("{what}: median less that of {name}");
            judge.at_most(&what, added, GOAL_ADDED, " ms");
        }
        medians.push(middle);
        all.push(Runs { rows, ratio, added_ms, milliseconds });
    }
    judge.at_most("a swap's locks are held at the larger size", medians[1], GOAL, " ms");
    judge.at_most("the same by the smaller size", medians[1] / medians[0], GOAL_GROWTH, "");
    save(workspace, "lock", &all)
}

/// A deployment that is ready.
fn prepared(side: Side, rows: i64) -> Result<Place> {
    let mut place = Place::fill_on(side, Name::Users.table(), rows)?;
    place.settle()?;
    execute(&mut place.admin, DEPENDENTS)?;
    call(&place.cluster, "SELECT bg_prepare('users', 'ADD COLUMN phone text')")?;
    call(&place.cluster, "CALL bg_run('users')")?;
    Ok(place)
}

/// Swaps and reverts, on each side in turn.
fn swaps_of(sides: &Sides, mut places: BySide<Place>, count: usize) -> Result<Vec<BySide<f64>>> {
    let mut times = Vec::new();
    for number in 0..count {
        let verb =
            if number % 2 == 0 { "SELECT bg_swap('users')" } else { "SELECT bg_revert('users')" };
        // A swap and a revert in each order.
        times.push(sides.in_turn(number / 2, |side| {
            let cluster = &places.of(side).cluster;
            let time = call(cluster, verb)?;
            call(cluster, "CALL bg_run('users')")?;
            time.with_context(|| format!("{verb} did not log how long it held its locks"))
        })?);
    }
    Ok(times)
}

/// Prints the median and the worst, and returns the median.
fn print(name: &str, rows: i64, times: impl Iterator<Item = f64> + Clone) -> f64 {
    let middle = median(times.clone());
    let worst = times.clone().fold(0.0, f64::max);
    println!(
        "lock, {name}: {rows} rows, {} swaps and reverts: median {middle:.1} ms, worst {worst:.1} ms",
        times.count()
    );
    middle
}

/// Calls in a session of its own, as a migration would. The time for which locks were held, if there
/// was a swap.
fn call(cluster: &Cluster, sql: &str) -> Result<Option<f64>> {
    let (mut client, heard) = listener(cluster)?;
    client.batch_execute(sql).with_context(|| sql.to_owned())?;
    let heard = heard.lock().map_err(|_| anyhow!("a notice could not be read"))?;
    Ok(heard.iter().find_map(|notice| milliseconds(notice)))
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
