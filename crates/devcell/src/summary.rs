//! Owns what `devcell` prints once the cell serves: lines to paste for people, one JSON object for
//! programs.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use devcell::Cell;
use devcell::rig::{Binaries, Login, Process, RigError, free_port};
use serde::Serialize;

/// What there is to know from outside; its JSON form is the interface of `--json`, to which keys
/// may be added but from which none may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    proxy: String,
    /// Of the realm `diego:`, with a password that stays.
    logins: Vec<Login>,
    /// As OpenSSH prints it, `SHA256:` included.
    host_key_sha256: String,
    known_hosts: PathBuf,
    process_guid: String,
    health: String,
    /// The page of the live sessions.
    admin: String,
    metrics: String,
    pids: Vec<Pid>,
    cf: Cf,
}

/// The realm `cf:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cf {
    /// One of each instance, with a code that is good for one login.
    logins: Vec<Login>,
    /// Gives a new code: GET with this header, and it is in the query of the `Location`.
    authorize: String,
    authorization: String,
    /// Cloud Controller.
    api: String,
    /// What to verify both with.
    ca: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Pid {
    name: String,
    pid: u32,
}

impl Summary {
    pub(crate) async fn of(cell: &Cell) -> Result<Self, RigError> {
        let instances = 0..cell.logins().len();
        let daemons = instances.clone().filter_map(|index| cell.daemon(index));
        let pid = |process: &Process| {
            Some(Pid {
                name: process.name().to_owned(),
                pid: process.pid()?,
            })
        };
        Ok(Self {
            proxy: cell.proxy_address().to_string(),
            logins: cell.logins().to_vec(),
            host_key_sha256: cell.host_key_sha256(),
            known_hosts: cell.known_hosts(),
            process_guid: cell.process_guid().to_owned(),
            health: format!("http://{}/", cell.health_address()),
            admin: format!("http://{}/", cell.admin_address().await?),
            metrics: format!("http://{}/metrics", cell.metrics_address().await?),
            pids: std::iter::once(cell.proxy())
                .chain(daemons)
                .filter_map(pid)
                .collect(),
            cf: Cf {
                logins: instances
                    .map(|index| cell.cf_login(index))
                    .collect::<Result<_, _>>()?,
                authorize: cell.uaa().authorize_url(),
                authorization: format!("bearer {}", cell.uaa().login(cell.developer())?),
                api: cell.cloud_controller().url(),
                ca: cell.ca_file(),
            },
        })
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Text to read and paste from, with more codes for the lines that are no shells.
    pub(crate) fn text(&self, tour: &Tour) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = self.write_text(tour, &mut text);
        text
    }

    fn write_text(&self, tour: &Tour, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "One app with {} instances is running behind {} at {}.",
            self.logins.len(),
            Binaries::SSH_PROXY,
            self.proxy
        )?;
        writeln!(
            out,
            "\nUsers of Cloud Foundry log in with one-time codes. Each code here is good for one \
             login\nwithin five minutes; press Enter for a new one."
        )?;
        for (index, login) in self.cf.logins.iter().enumerate() {
            writeln!(out, "\nA shell in instance {index}:\n")?;
            write_line(out, &self.ssh(login, ""), login)?;
        }
        if let Some(login) = self.cf.logins.first() {
            self.write_tour(tour, login, out)?;
        }
        writeln!(
            out,
            "\nOperators of Diego log in with a password, the same for all instances and every time:\n"
        )?;
        for login in &self.logins {
            writeln!(out, "  {}", self.ssh(login, ""))?;
        }
        if let Some(login) = self.logins.first() {
            writeln!(out, "  password: {}", login.password)?;
        }
        writeln!(
            out,
            "\nThe proxy's host key is {}.\nThe file in the lines above holds that key, so ssh \
             neither asks about it nor writes to\nyour own known_hosts.",
            self.host_key_sha256
        )?;
        writeln!(
            out,
            "\nWho is in, as operators see it, to look at and to end; and the metrics:\n\n  {}\n  {}",
            self.admin, self.metrics
        )?;
        writeln!(out, "\nCtrl-C stops everything and leaves nothing behind.")
    }

    /// What else there is to do with instance 0, as `login` but with codes of their own.
    fn write_tour(&self, tour: &Tour, login: &Login, out: &mut String) -> std::fmt::Result {
        let [command, copy, files, local, remote] = tour.codes.each_ref().map(|code| Login {
            user: login.user.clone(),
            password: code.clone(),
        });
        let Tour { app, ports, .. } = tour;
        let [near, far] = ports;
        let (host, _) = self.place();

        writeln!(out, "\nOne command:\n")?;
        let what = " 'echo $CF_INSTANCE_INDEX: $USER in $PWD'";
        write_line(out, &(self.ssh(&command, "") + what), &command)?;

        writeln!(out, "\nA file into the instance, and all its files:\n")?;
        let into = format!("{} /etc/hosts {host}:", self.copier("scp", &copy));
        write_line(out, &into, &copy)?;
        writeln!(out)?;
        let browse = format!("{} {host}", self.copier("sftp", &files));
        write_line(out, &browse, &files)?;

        writeln!(
            out,
            "\nThe app of the instance at http://127.0.0.1:{near}/ on your side:\n"
        )?;
        let forward = format!("-N -L {near}:{app} ");
        write_line(out, &self.ssh(&local, &forward), &local)?;

        writeln!(
            out,
            "\nA server on your side (here it is the app again) for programs in the instance:\n"
        )?;
        let forward = format!("-R {far}:{app} ");
        let curl = format!(" curl -s http://127.0.0.1:{far}/");
        write_line(out, &(self.ssh(&remote, &forward) + &curl), &remote)
    }

    /// A command line that works as it stands and leaves the user's own files alone.
    fn ssh(&self, login: &Login, options: &str) -> String {
        let (host, port) = self.place();
        let known_hosts = self.known_hosts();
        format!("ssh -p {port} {known_hosts} {options}{}@{host}", login.user)
    }

    /// The same without the host, for programs to which a colon in `user@host` means something.
    fn copier(&self, program: &str, login: &Login) -> String {
        let (_, port) = self.place();
        let known_hosts = self.known_hosts();
        format!("{program} -P {port} {known_hosts} -o User={}", login.user)
    }

    fn place(&self) -> (&str, &str) {
        self.proxy.split_once(':').unwrap_or((&self.proxy, "2222"))
    }

    fn known_hosts(&self) -> String {
        let file = shell_word(&self.known_hosts.display().to_string());
        format!("-o UserKnownHostsFile={file}")
    }
}

/// What the text needs beyond the summary.
#[derive(Clone, Debug)]
pub(crate) struct Tour {
    /// One for each line that is no shell.
    codes: [String; 5],
    /// Where instance 0 serves the app.
    app: SocketAddr,
    /// Free ports to forward from, on the user's side and in the instance.
    ports: [u16; 2],
}

impl Tour {
    pub(crate) fn of(cell: &Cell) -> Result<Self, RigError> {
        let code = || Ok::<_, RigError>(cell.cf_login(0)?.password);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self {
            codes: [code()?, code()?, code()?, code()?, code()?],
            app: cell.app_address(0).unwrap_or(nowhere),
            ports: [free_port()?, free_port()?],
        })
    }
}

fn write_line(out: &mut String, line: &str, login: &Login) -> std::fmt::Result {
    writeln!(out, "  {line}\n  password: {}", login.password)
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
        let cf_login = |index| Login {
            user: format!("cf:guid/{index}"),
            password: format!("code-{index}"),
        };
        Summary {
            proxy: "127.0.0.1:2222".to_owned(),
            logins: vec![login(0), login(1)],
            host_key_sha256: "SHA256:abc".to_owned(),
            known_hosts: "/tmp/devcell-x/known_hosts".into(),
            process_guid: "guid".to_owned(),
            health: "http://127.0.0.1:4000/".to_owned(),
            admin: "http://127.0.0.1:4001/".to_owned(),
            metrics: "http://127.0.0.1:4002/metrics".to_owned(),
            pids: vec![Pid {
                name: "ssh-proxy".to_owned(),
                pid: 7,
            }],
            cf: Cf {
                logins: vec![cf_login(0), cf_login(1)],
                authorize: "https://127.0.0.1:1/oauth/authorize".to_owned(),
                authorization: "bearer x".to_owned(),
                api: "https://127.0.0.1:2".to_owned(),
                ca: "/tmp/devcell-x/cf-ca.crt".into(),
            },
        }
    }

    fn tour() -> Tour {
        Tour {
            codes: ["one", "two", "three", "four", "five"].map(str::to_owned),
            app: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ports: [8000, 9000],
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
        assert_eq!(value["admin"], "http://127.0.0.1:4001/");
        assert_eq!(value["metrics"], "http://127.0.0.1:4002/metrics");
        assert_eq!(value["pids"][0]["pid"], 7);
        assert_eq!(value["cf"]["logins"][1]["password"], "code-1");
        assert_eq!(value["cf"]["authorization"], "bearer x");
    }

    #[test]
    fn text_has_a_line_to_paste_for_each_instance_and_realm() {
        let text = summary().text(&tour());
        let options = "-o UserKnownHostsFile=/tmp/devcell-x/known_hosts";
        for index in 0..2 {
            let line = format!("\n  ssh -p 2222 {options} diego:guid/{index}@127.0.0.1\n");
            assert!(text.contains(&line), "{text}");
            let line = format!(
                "\n  ssh -p 2222 {options} cf:guid/{index}@127.0.0.1\n  password: code-{index}\n"
            );
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("SHA256:abc"));
        assert!(text.contains("password: secret"));
        assert!(text.contains("\n  http://127.0.0.1:4001/\n  http://127.0.0.1:4002/metrics\n"));
    }

    #[test]
    fn text_shows_what_else_there_is() {
        let text = summary().text(&tour());
        let options = "-o UserKnownHostsFile=/tmp/devcell-x/known_hosts";
        let user = "-o User=cf:guid/0";
        for (line, code) in [
            (
                format!("scp -P 2222 {options} {user} /etc/hosts 127.0.0.1:"),
                "two",
            ),
            (format!("sftp -P 2222 {options} {user} 127.0.0.1"), "three"),
            (
                format!("ssh -p 2222 {options} -N -L 8000:127.0.0.1:8080 cf:guid/0@127.0.0.1"),
                "four",
            ),
            (
                format!(
                    "ssh -p 2222 {options} -R 9000:127.0.0.1:8080 cf:guid/0@127.0.0.1 \
                     curl -s http://127.0.0.1:9000/"
                ),
                "five",
            ),
        ] {
            let line = format!("\n  {line}\n  password: {code}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(shell_word("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("/tmp/x-1"), "/tmp/x-1");
    }
}
