//! How the demo speaks: chapters, lines, aligned tables, checks that are counted.

use anyhow::{Context, Result};
use std::{fmt::Display, io::Write, time::Duration};
use tokio::time::Instant;

/// How long the demo waits for anything that takes its time before it calls it failed: twice what
/// EC2 may take for the slowest of it, scaled as the world is, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a line says that the waiting goes on.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What is told, and what was checked.
#[derive(Debug, Default)]
pub(super) struct Story {
    chapter: u32,
    passed: usize,
    failed: Vec<String>,
}

impl Story {
    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str, why: &str) -> Result<()> {
        self.chapter += 1;
        let line = format!("{}  {title}", self.chapter);
        say(&format!("\n{line}\n{}\n   {why}\n", "─".repeat(line.chars().count())))
    }

    /// Tells what happens.
    pub(super) fn tell(&self, line: impl Display) -> Result<()> {
        say(&format!("   {line}\n"))
    }

    /// Shows a table, aligned.
    pub(super) fn table<const N: usize>(
        &self,
        head: [&str; N],
        rows: &[[String; N]],
    ) -> Result<()> {
        let mut widths = head.map(|cell| cell.chars().count());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: [&str; N]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("      {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        let mut text = format!("\n{}", line(head));
        for row in rows {
            text.push_str(&line(row.each_ref().map(String::as_str)));
        }
        say(&format!("{text}\n"))
    }

    /// Notes whether something is as it should be; says what is wrong where it is not.
    pub(super) fn check(&mut self, what: impl Display, wrong: &[String]) -> Result<()> {
        if wrong.is_empty() {
            self.passed += 1;
            return say(&format!("   ✔ {what}\n"));
        }
        self.failed.push(format!("{what}: {}", wrong.join("; ")));
        say(&format!(
            "   ✘ {what}\n{}",
            wrong.iter().map(|it| format!("       {it}\n")).collect::<String>()
        ))
    }

    /// Waits until `look` finds nothing missing, and tells so while it lasts.
    ///
    /// # Errors
    /// Something is still missing after a minute.
    pub(super) async fn wait(
        &self,
        what: &str,
        look: impl AsyncFn() -> Result<Option<String>>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut told = began;
        while let Some(missing) = look().await? {
            let waited = began.elapsed();
            anyhow::ensure!(waited < PATIENCE, "{what}: {missing} after {} s", waited.as_secs());
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                self.tell(format!("… {what}: {missing} ({} s)", waited.as_secs()))?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The closing line.
    ///
    /// # Errors
    /// Checks that failed, by name.
    pub(super) fn close(&self) -> Result<()> {
        let Self { passed, failed, .. } = self;
        for failure in failed {
            say(&format!("✘ {failure}\n"))?;
        }
        say(&format!("\n{passed} checks passed, {} failed\n", failed.len()))?;
        anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
        Ok(())
    }
}

/// Writes at once: the demo is read while it runs.
pub(super) fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_makes_the_demo_fail_and_is_named() {
        let mut story = Story::default();
        story.check("the sky is blue", &[]).unwrap();
        story.check("pigs fly", &["they do not".into()]).unwrap();

        let error = story.close().unwrap_err();

        assert_eq!(error.to_string(), "failed: pigs fly: they do not");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_what_is_missing() {
        let story = Story::default();

        let error = story.wait("boot", async || Ok(Some("one node".into()))).await.unwrap_err();

        assert!(error.to_string().starts_with("boot: one node after "), "{error}");
    }
}
