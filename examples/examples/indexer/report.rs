//! What is told: the progress while the work goes on, and the summary at its end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use conveyor::Counts;

use crate::index::{Progress, Snapshot};
use crate::scan::Scan;

/// So many unreadable files are named.
const NAMED: usize = 10;

/// What a summary is made of.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) index: Snapshot,
    /// What the manager counted of the files' tasks.
    pub(crate) counts: Counts,
    /// What was on disk at that moment, if the tree was done.
    pub(crate) audit: Option<Scan>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    files: u64,
    lines: u64,
    words: u64,
    bytes: u64,
}

/// How far the work is, in a line.
pub(crate) fn progress(progress: Progress, elapsed: Duration) -> String {
    let Progress { known, unreadable, on_disk, bytes } = progress;
    let Some(on_disk) = on_disk else { return "looking for files".to_owned() };
    let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let failed = if unreadable > 0 { format!(", {unreadable} unreadable") } else { String::new() };
    format!("{known} of {on_disk} files, {} ({}/s){failed}", size(bytes as f64), size(rate))
}

impl Report {
    /// The summary, and whether all that was counted agrees.
    pub(crate) fn summary(&self, elapsed: Duration) -> (String, bool) {
        let mut text = String::new();
        let agrees = self.write(&mut text, elapsed).unwrap_or(false);
        (text, agrees)
    }

    fn write(&self, out: &mut String, elapsed: Duration) -> Result<bool, std::fmt::Error> {
        let total = self.write_languages(out)?;
        let unreadable = self.write_unreadable(out)?;
        if let Some(audit) = &self.audit {
            write_left_out(out, audit)?;
        }
        let agrees = self.write_counts(out, total.files, unreadable)?;
        let bytes = self.index.progress.bytes;
        let rate = size(bytes as f64 / elapsed.as_secs_f64().max(0.001));
        writeln!(out, "in {:.2} s: {rate}/s", elapsed.as_secs_f64())?;
        Ok(agrees)
    }

    fn write_languages(&self, out: &mut String) -> Result<Row, std::fmt::Error> {
        let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
        let mut total = Row::default();
        for contents in self.index.files.values().filter_map(|entry| entry.contents.as_ref().ok()) {
            for row in [rows.entry(&contents.language).or_default(), &mut total] {
                row.files += 1;
                row.lines += contents.lines;
                row.words += contents.words;
                row.bytes += contents.bytes;
            }
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.bytes));
        rows.push(("total", total));
        let [l, f, n, w, b] = ["language", "files", "lines", "words", "bytes"];
        writeln!(out, "{l:<18}{f:>9}{n:>13}{w:>13}{b:>16}")?;
        for (language, Row { files, lines, words, bytes }) in rows {
            writeln!(out, "{language:<18}{files:>9}{lines:>13}{words:>13}{bytes:>16}")?;
        }
        Ok(total)
    }

    fn write_unreadable(&self, out: &mut String) -> Result<u64, std::fmt::Error> {
        let failed =
            self.index.files.iter().filter_map(|(path, entry)| {
                Some((Path::new(path), entry.contents.as_ref().err()?))
            });
        let mut failed: Vec<_> = failed.collect();
        failed.sort();
        write_list(out, "unreadable files", &failed)?;
        Ok(failed.len() as u64)
    }

    fn write_counts(
        &self,
        out: &mut String,
        indexed: u64,
        unreadable: u64,
    ) -> Result<bool, std::fmt::Error> {
        let Report { index, counts, audit } = self;
        let &Counts { enqueued, processed, failed, cancelled, crashed, .. } = counts;
        let scanned = index.progress.on_disk.unwrap_or_default();
        let on_disk = audit.as_ref().map_or(scanned, |audit| audit.files.len()) as u64;
        // Of all runs: the store counts on, and so does the index beside it.
        let agrees = on_disk == indexed + unreadable
            && counts.live() == 0
            && enqueued == counts.ended()
            && processed == index.tasks;

        writeln!(out)?;
        write!(out, "files on disk {on_disk} = indexed {indexed} + unreadable {unreadable}")?;
        match audit {
            Some(_) => writeln!(out)?,
            None => writeln!(out, " + to do {}", on_disk.saturating_sub(indexed + unreadable))?,
        }
        let live = counts.live();
        write!(out, "tasks {enqueued} = succeeded {processed} + failed {failed}")?;
        writeln!(out, " + cancelled {cancelled} + crashed {crashed} + live {live}")?;
        let &Counts { retried, snoozed, returned, duplicates, panicked, .. } = counts;
        write!(out, "attempts: retried {retried}, put off {snoozed}, handed back {returned}")?;
        writeln!(out, ", panicked {panicked}; duplicates refused {duplicates}")?;
        let again = index.tasks.saturating_sub(indexed + unreadable);
        if again > 0 {
            writeln!(out, "entries that later ones replaced, or whose files went: {again}")?;
        }
        if audit.is_some() && !agrees {
            writeln!(out, "THESE DO NOT AGREE")?;
        }
        Ok(agrees)
    }
}

fn write_left_out(out: &mut String, audit: &Scan) -> std::fmt::Result {
    let closed: Vec<_> = audit.closed.iter().map(|(path, why)| (path.as_path(), why)).collect();
    write_list(out, "closed directories", &closed)?;
    let skipped = audit.skipped;
    if skipped != Default::default() {
        write!(out, "\nskipped: symbolic links {}", skipped.links)?;
        write!(out, ", special files {}", skipped.special_files)?;
        write!(out, ", version control directories {}", skipped.version_control)?;
        writeln!(out, ", caches {}", skipped.caches)?;
    }
    Ok(())
}

/// The first of them, and how many there are. Names are quoted: they may hold anything.
fn write_list(out: &mut String, what: &str, list: &[(&Path, &String)]) -> std::fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{what}: {}", list.len())?;
    for (path, why) in list.iter().take(NAMED) {
        writeln!(out, "  {path:?}: {why}")?;
    }
    if let Some(more) = list.len().checked_sub(NAMED).filter(|more| *more > 0) {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}

/// Bytes, for people.
fn size(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut number = bytes;
    while number >= 1000.0 && unit + 1 < units.len() {
        number /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{number:.0} B") } else { format!("{number:.1} {}", units[unit]) }
}
