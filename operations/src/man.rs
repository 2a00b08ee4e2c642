//! The man page: what clap knows of a command, and the sections that it cannot know.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Sections of a server's own.
#[derive(Clone, Copy, Debug)]
pub struct ManSections<'a> {
    /// Exit codes and what they mean.
    pub exit_status: &'a [(&'a str, &'a str)],
    /// Files it reads and writes.
    pub files: &'a [(&'a str, &'a str)],
    /// Variables it looks at.
    pub environment: &'a [(&'a str, &'a str)],
}

/// The page in roff.
///
/// # Errors
/// None in practice: it is written to memory.
pub(crate) fn page(command: Command, sections: &ManSections<'_>) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command)
        .section("8")
        .manual("RocketMQ server")
        .source(env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    for (title, entries) in [
        ("EXIT STATUS", sections.exit_status),
        ("FILES", sections.files),
        ("ENVIRONMENT", sections.environment),
    ] {
        roff.control("SH", [title]);
        for (name, text) in entries {
            roff.control("TP", []);
            roff.text([bold(*name)]);
            roff.text([roman(*text)]);
        }
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_options_and_the_servers_own_sections() {
        let command = Command::new("mqtest")
            .about("A test.")
            .arg(clap::Arg::new("file").short('c').help("The file"));
        let page = page(
            command,
            &ManSections {
                exit_status: &[("0", "fine")],
                files: &[("a.conf", "read at the start")],
                environment: &[("HOME", "where things lie")],
            },
        )
        .unwrap();
        let page = String::from_utf8(page).unwrap();
        for part in [
            ".TH mqtest 8",
            "The file",
            ".SH \"EXIT STATUS\"",
            "a.conf",
            "HOME",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }
}
