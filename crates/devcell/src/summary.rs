//! Owns what `devcell` prints once the cell serves: lines to paste for people, one JSON object for
//! programs.

use std::fmt::Write;
use std::path::PathBuf;

use devcell::Cell;
use devcell::rig::{Binaries, Login, Process};
use serde::Serialize;

/// What there is to know from outside; its JSON form is the interface of `--json`, to which keys
/// may be added but from which none may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    proxy: String,
    logins: Vec<Login>,
    /// As OpenSSH prints it, `SHA256:` included.
    host_key_sha256: String,
    known_hosts: PathBuf,
    process_guid: String,
    health: String,
    pids: Vec<Pid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Pid {
    name: String,
    pid: u32,
}

impl Summary {
    pub(crate) fn of(cell: &Cell) -> Self {
        let daemons = (0..cell.logins().len()).filter_map(|index| cell.daemon(index));
        let pid = |process: &Process| {
            Some(Pid {
                name: process.name().to_owned(),
                pid: process.pid()?,
            })
        };
        Self {
            proxy: cell.proxy_address().to_string(),
            logins: cell.logins().to_vec(),
            host_key_sha256: cell.host_key_sha256(),
            known_hosts: cell.known_hosts(),
            process_guid: cell.process_guid().to_owned(),
            health: format!("http://{}/", cell.health_address()),
            pids: std::iter::once(cell.proxy())
                .chain(daemons)
                .filter_map(pid)
                .collect(),
        }
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Text to read and paste from.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "One app with {} instances is running behind {} at {}.",
            self.logins.len(),
            Binaries::SSH_PROXY,
            self.proxy
        )?;
        for (index, login) in self.logins.iter().enumerate() {
            writeln!(out, "\nA shell in instance {index}:\n")?;
            writeln!(out, "  {}", self.ssh(login))?;
            writeln!(out, "  password: {}", login.password)?;
        }
        if let Some(login) = self.logins.first() {
            writeln!(out, "\nOne command:\n")?;
            let command = "echo $CF_INSTANCE_INDEX: $USER in $PWD";
            writeln!(out, "  {} '{command}'", self.ssh(login))?;
        }
        writeln!(
            out,
            "\nThe proxy's host key is {}.\nThe file in the lines above holds that key, so ssh \
             neither asks about it nor writes to\nyour own known_hosts.",
            self.host_key_sha256
        )?;
        writeln!(out, "\nCtrl-C stops everything and leaves nothing behind.")
    }

    /// A command line that works as it stands and leaves the user's own files alone.
    fn ssh(&self, login: &Login) -> String {
        let (host, port) = self.proxy.split_once(':').unwrap_or((&self.proxy, "2222"));
        format!(
            "ssh -p {port} -o UserKnownHostsFile={} {}@{host}",
            shell_word(&self.known_hosts.display().to_string()),
            login.user
        )
    }
}

/// Quotes what a shell would take apart; a temporary directory rarely needs it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let login = |index| Login {
            user: format!("diego:guid/{index}"),
            password: "secret".to_owned(),
        };
        Summary {
            proxy: "127.0.0.1:2222".to_owned(),
            logins: vec![login(0), login(1)],
            host_key_sha256: "SHA256:abc".to_owned(),
            known_hosts: "/tmp/devcell-x/known_hosts".into(),
            process_guid: "guid".to_owned(),
            health: "http://127.0.0.1:4000/".to_owned(),
            pids: vec![Pid {
                name: "ssh-proxy".to_owned(),
                pid: 7,
            }],
        }
    }

    #[test]
    fn json_is_one_line_with_the_promised_keys() {
        let line = summary().json().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["proxy"], "127.0.0.1:2222");
        assert_eq!(value["logins"][1]["user"], "diego:guid/1");
        assert_eq!(value["logins"][1]["password"], "secret");
        assert_eq!(value["host_key_sha256"], "SHA256:abc");
        assert_eq!(value["known_hosts"], "/tmp/devcell-x/known_hosts");
        assert_eq!(value["pids"][0]["pid"], 7);
    }

    #[test]
    fn text_has_a_line_to_paste_for_each_instance() {
        let text = summary().text();
        let options = "-o UserKnownHostsFile=/tmp/devcell-x/known_hosts";
        for index in 0..2 {
            let line = format!("\n  ssh -p 2222 {options} diego:guid/{index}@127.0.0.1\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("SHA256:abc"));
        assert!(text.contains("password: secret"));
    }

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(shell_word("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("/tmp/x-1"), "/tmp/x-1");
    }
}
