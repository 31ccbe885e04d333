//! A picture of what a change costs the clients: their latency over time, a panel for each
//! contender, all with the same axes. Red is the longest and blue the median of what ended in 50 ms;
//! grey is where the change begins and ends, green where the tables were exchanged.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Color, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, PathElement,
    RGBColor, SVGBackend, WHITE,
};

use super::change::{Run, Runs};
use super::latencies::Moment;
use super::output_directory;
use crate::setup::Workspace;

const LONGEST: RGBColor = RGBColor(200, 60, 40);
const USUAL: RGBColor = RGBColor(40, 90, 180);
const SWAP: RGBColor = RGBColor(20, 120, 60);
const END: RGBColor = RGBColor(130, 130, 130);

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 240;

/// Draws the median run of each contender; nothing where there were no clients.
pub(super) fn draw(workspace: &Workspace, name: &str, runs: &Runs) -> Result<Option<PathBuf>> {
    let panels: Vec<&Run> =
        runs.typical().into_iter().filter(|run| !run.trace.is_empty()).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let file = output_directory(workspace)?.join(format!("{name}.svg"));
    paint(&file, runs, &panels).map_err(|error| anyhow!("drawing {}: {error}", file.display()))?;
    Ok(Some(file))
}

/// Plotters' errors borrow what is drawn on, so that they are passed on as text.
type Painted = std::result::Result<(), String>;

fn paint(file: &Path, runs: &Runs, panels: &[&Run]) -> Painted {
    let rows = u32::try_from(panels.len()).map_err(said)?;
    let area = SVGBackend::new(file, (WIDTH, HEIGHT * rows)).into_drawing_area();
    area.fill(&WHITE).map_err(said)?;
    let moments = || panels.iter().flat_map(|run| &run.trace);
    let first = moments().map(|moment| moment.at).fold(0.0, f64::min);
    let last = moments().map(|moment| moment.at).fold(0.0, f64::max);
    let highest = moments().map(|moment| moment.longest_ms).fold(1.0, f64::max);
    for (panel, run) in area.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let title = format!(
            "{} ({:.1} s), {} rows of {}, load {}",
            run.name,
            run.seconds,
            runs.rows,
            runs.table.word(),
            runs.load.word()
        );
        paint_panel(panel, &title, run, (first, last), highest)?;
    }
    area.present().map_err(said)
}

fn paint_panel(
    panel: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    run: &Run,
    (first, last): (f64, f64),
    highest: f64,
) -> Painted {
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(60)
        .build_cartesian_2d(first..last, (0.1..highest * 1.5).log_scale())
        .map_err(said)?;
    chart
        .configure_mesh()
        .x_desc("seconds from the begin of the change")
        .y_desc("longest, median: ms")
        .max_light_lines(1)
        .draw()
        .map_err(said)?;
    let points = |figure: fn(&Moment) -> f64| {
        run.trace.iter().map(move |moment| (moment.at, figure(moment).max(0.1)))
    };
    let longest = LineSeries::new(points(|moment| moment.longest_ms), &LONGEST);
    chart.draw_series(longest).map_err(said)?;
    chart.draw_series(LineSeries::new(points(|moment| moment.p50_ms), &USUAL)).map_err(said)?;
    let upright = |at: f64, colour: RGBColor| {
        PathElement::new(vec![(at, 0.1), (at, highest * 1.5)], colour.stroke_width(2))
    };
    let begin_and_end = [upright(0.0, END), upright(run.whole_seconds, END)];
    chart.draw_series(begin_and_end).map_err(said)?;
    chart.draw_series(run.swapped_at.map(|at| upright(at, SWAP))).map_err(said)?;
    Ok(())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
