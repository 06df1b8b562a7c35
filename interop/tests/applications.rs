//! Programs that work over SSH: rsync, git, sshfs, curl and lftp.
//!
//! What they run in the container is this machine's, as the container is.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use interop::process::{self, Output, Process};
use support::files::{self, Look};
use support::target::{HOST, Target, both, remote, succeeds};
use support::user::until;
use tokio::process::Command;

/// Runs a program with these arguments.
async fn run(mut program: Command, arguments: &[&str]) -> Output {
    program.args(arguments);
    process::run(program, b"").await
}

/// The same for one that has to succeed; what it prints.
async fn runs(program: Command, arguments: &[&str]) -> String {
    succeeds(run(program, arguments).await)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `rsync` of everything there is to know about files.
async fn rsync(target: &Target, from: &str, to: &str) -> String {
    let ssh = target.ssh_command();
    let options = ["-e", &ssh, "-a", "--delete", "--checksum", "--stats"];
    runs(
        target.program("rsync"),
        &[&options[..], &[from, to]].concat(),
    )
    .await
}

/// Checks how many files a run of `rsync` has sent.
fn assert_sent(stats: &str, files: usize) {
    let line = format!("Number of regular files transferred: {files}\n");
    assert!(stats.contains(&line), "{stats}");
}

both! {
    async fn rsync_brings_trees_and_then_what_has_changed(target: Target) {
        let (here, there) = (target.dir.join("tree"), target.home().join("tree"));
        files::tree(&here);
        symlink("top", here.join("link")).unwrap();
        assert_sent(&rsync(&target, "tree/", &remote("tree")).await, 7);
        files::assert_same_tree(&here, &there, Look::ModesAndTimes);
        assert_eq!(fs::read_link(there.join("link")).unwrap(), Path::new("top"));
        assert_sent(&rsync(&target, "tree/", &remote("tree")).await, 0);
        files::file(&here.join("top"), 500_000);
        fs::remove_file(here.join("private")).unwrap();
        assert_sent(&rsync(&target, "tree/", &remote("tree")).await, 1);
        files::assert_same_tree(&here, &there, Look::ModesAndTimes);
        // And back.
        let back = target.dir.join("back");
        assert_sent(&rsync(&target, &remote("tree/"), "back").await, 6);
        files::assert_same_tree(&there, &back, Look::ModesAndTimes);
        assert_sent(&rsync(&target, &remote("tree/"), "back").await, 0);
    }

    async fn git_clones_and_pushes(target: Target) {
        let git = Git { target: &target };
        let origin = target.home().join("origin.git");
        git.at(&target.dir, &["init", "--quiet", "--bare", "--initial-branch=main", text(&origin)]).await;
        let url = format!("ssh://{HOST}{}", origin.display());
        // The container's search path may not have this machine's git.
        git.at(&target.dir, &["clone", "--quiet", &git.upload_pack().await, &url, "one"]).await;
        let one = target.dir.join("one");
        let content = files::file(&one.join("file"), 3_000_000);
        git.at(&one, &["add", "file"]).await;
        git.at(&one, &["commit", "--quiet", "--message=A file"]).await;
        git.at(&one, &["push", "--quiet", &git.receive_pack().await, "origin", "HEAD:main"]).await;
        git.at(&target.dir, &["clone", "--quiet", &git.upload_pack().await, &url, "two"]).await;
        assert!(fs::read(target.dir.join("two/file")).unwrap() == content);
        // What is new alone, in the other direction.
        let two = target.dir.join("two");
        git.at(&two, &["mv", "file", "moved"]).await;
        git.at(&two, &["commit", "--quiet", "--message=Another name"]).await;
        git.at(&two, &["push", "--quiet", &git.receive_pack().await, "origin", "HEAD:main"]).await;
        git.at(&one, &["pull", "--quiet", &git.upload_pack().await, "origin", "main"]).await;
        assert!(one.join("moved").exists() && !one.join("file").exists());
        git.at(&one, &["fsck", "--strict"]).await;
    }

    async fn sshfs_is_a_directory(target: Target) {
        let there = target.home().join("shared");
        files::tree(&there);
        let mount = Mount::new(&target, &there).await;
        let here = mount.path.clone();
        // These block, and what serves them is another process.
        let work = tokio::task::spawn_blocking(move || {
            files::assert_same_tree(&there, &here, Look::ModesAndTimes);
            let content = files::file(&here.join("new"), 5_000_000);
            assert!(fs::read(there.join("new")).unwrap() == content);
            assert!(fs::read(here.join("new")).unwrap() == content);
            fs::rename(here.join("new"), here.join("one/moved")).unwrap();
            assert!(there.join("one/moved").exists() && !there.join("new").exists());
            // In the place of what is there, as in any directory.
            fs::rename(here.join("one/moved"), here.join("top")).unwrap();
            assert_eq!(fs::metadata(there.join("top")).unwrap().len(), 5_000_000);
            files::set_mode(&here.join("top"), 0o711);
            assert_eq!(files::mode(&there.join("top")), 0o711);
            files::make_old(&here.join("top"));
            assert_eq!(files::modified(&there.join("top")), files::LONG_AGO as i64);
            symlink("top", here.join("soft")).unwrap();
            assert_eq!(fs::read_link(there.join("soft")).unwrap(), Path::new("top"));
            fs::hard_link(here.join("top"), here.join("hard")).unwrap();
            assert_eq!(fs::metadata(there.join("top")).unwrap().nlink(), 2);
            let file = fs::File::options().write(true).open(here.join("top")).unwrap();
            file.set_len(1000).unwrap();
            file.sync_all().unwrap();
            drop(file);
            assert!(fs::read(there.join("top")).unwrap() == content[..1000]);
            fs::create_dir(here.join("dir")).unwrap();
            assert!(there.join("dir").is_dir());
            assert!(fs::remove_dir(here.join("one")).is_err());
            fs::remove_dir(here.join("dir")).unwrap();
            fs::remove_file(here.join("hard")).unwrap();
            assert!(!there.join("dir").exists() && !there.join("hard").exists());
            let missing = fs::read(here.join("missing")).unwrap_err();
            assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
            let disk = rustix::fs::statvfs(&here).unwrap();
            assert_eq!(disk.f_blocks * disk.f_frsize, size_of_disk(&there));
        });
        work.await.expect("a working directory");
        mount.unmount().await;
    }

    async fn curl_moves_files_by_sftp(target: Target) {
        files::file(&target.dir.join("file"), 3_000_000);
        curl(&target, "sftp", "/~/up", &["--upload-file", "file"]).await;
        files::assert_same(&target.dir.join("file"), &target.home().join("up"));
        let absolute = target.home().join("up");
        for path in ["/~/up", text(&absolute)] {
            curl(&target, "sftp", path, &["--output", "back"]).await;
            files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
        }
        let part = curl(&target, "sftp", "/~/up", &["--range", "1000-1009", "--output", "part"]).await;
        assert_eq!(part, "");
        let whole = fs::read(target.dir.join("file")).unwrap();
        assert!(fs::read(target.dir.join("part")).unwrap() == whole[1000..1010]);
        // The rest of one that was cut off.
        fs::write(target.dir.join("half"), &whole[..1_500_000]).unwrap();
        curl(&target, "sftp", "/~/up", &["--continue-at", "-", "--output", "half"]).await;
        files::assert_same(&target.dir.join("file"), &target.dir.join("half"));
        let upload = ["--upload-file", "file", "--ftp-create-dirs"];
        curl(&target, "sftp", "/~/new/dir/up", &upload).await;
        files::assert_same(&target.dir.join("file"), &target.home().join("new/dir/up"));
        let list = curl(&target, "sftp", "/~/new/", &["--list-only"]).await;
        let mut names: Vec<_> = list.lines().collect();
        names.sort_unstable();
        assert_eq!(names, [".", "..", "dir"]);
        let home = target.home().display();
        let (rename, chmod) = (format!("rename {home}/up {home}/named"), format!("chmod 600 {home}/named"));
        let quotes = ["--quote", &rename, "--quote", &chmod, "--list-only"];
        curl(&target, "sftp", "/~/", &quotes).await;
        assert_eq!(files::mode(&target.home().join("named")), 0o600);
        let output = run_curl(&target, "sftp", "/~/missing", &[]).await;
        // Its code for files that do not exist.
        assert_eq!(output.status.code(), Some(78), "{}", output.stderr);
    }

    async fn curl_moves_files_by_scp(target: Target) {
        files::file(&target.dir.join("file"), 3_000_000);
        let there = target.home().join("a name");
        curl(&target, "scp", &text(&there).replace(' ', "%20"), &["--upload-file", "file"]).await;
        files::assert_same(&target.dir.join("file"), &there);
        curl(&target, "scp", &text(&there).replace(' ', "%20"), &["--output", "back"]).await;
        files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
        let missing = target.home().join("missing");
        let output = run_curl(&target, "scp", text(&missing), &[]).await;
        assert!(!output.status.success());
    }

    async fn lftp_mirrors_trees(target: Target) {
        files::tree(&target.dir.join("tree"));
        lftp(&target, "mirror --reverse tree up").await;
        let up = target.home().join("up");
        files::assert_same_tree(&target.dir.join("tree"), &up, Look::Contents);
        // lftp asks nobody for times within a minute: it knows them.
        lftp(&target, "mirror up back").await;
        files::assert_same_tree(&up, &target.dir.join("back"), Look::Contents);
        let listing = lftp(&target, "cls -1 --sort=name up\nmv up/top up/moved\nrm -r up/one\ncat up/moved > moved").await;
        assert!(listing.contains("up/top\n"), "{listing}");
        assert!(!up.join("one").exists() && up.join("moved").exists());
        files::assert_same(&up.join("moved"), &target.dir.join("moved"));
        let missing = run_lftp(&target, "get missing").await;
        assert!(missing.stderr.contains("No such file"), "{}", missing.stderr);
        assert!(!missing.status.success());
    }
}

fn size_of_disk(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).expect("a disk");
    disk.f_blocks * disk.f_frsize
}

/// `git` on the side of the client.
struct Git<'a> {
    target: &'a Target,
}

impl Git<'_> {
    async fn at(&self, dir: &Path, arguments: &[&str]) -> String {
        let mut git = self.target.program("git");
        git.current_dir(dir)
            .env("GIT_SSH_COMMAND", self.target.ssh_command())
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Somebody");
            git.env(format!("GIT_{who}_EMAIL"), "somebody@example.com");
        }
        runs(git, arguments).await
    }

    /// Where the parts of git are that run in the container.
    async fn part(&self, name: &str) -> String {
        let place = self.at(&self.target.dir, &["--exec-path"]).await;
        format!("{}/{name}", place.trim())
    }

    async fn upload_pack(&self) -> String {
        format!("--upload-pack={}", self.part("git-upload-pack").await)
    }

    async fn receive_pack(&self) -> String {
        format!("--receive-pack={}", self.part("git-receive-pack").await)
    }
}

/// A directory of the container, mounted here. In the end it is not mounted any more.
struct Mount {
    path: PathBuf,
    sshfs: Option<Process>,
}

impl Mount {
    async fn new(target: &Target, there: &Path) -> Self {
        let path = target.dir.join("mount");
        fs::create_dir(&path).expect("a directory");
        let before = device(&path);
        let mut sshfs = target.program("sshfs");
        // In the foreground, so that its end is seen; without caches, so that each look is one there.
        sshfs
            .args(["-f", "-o", "dir_cache=no,attr_timeout=0,entry_timeout=0"])
            .args(["-o", &format!("ssh_command={}", target.ssh_command())])
            .arg(remote(text(there)))
            .arg(&path);
        let mount = Self {
            path,
            sshfs: Some(Process::start(sshfs)),
        };
        until("the directory is mounted", || device(&mount.path) != before).await;
        mount
    }

    async fn unmount(mut self) {
        let mut umount = Command::new("fusermount3");
        umount.arg("-u").arg(&self.path);
        succeeds(process::run(umount, b"").await);
        let sshfs = self.sshfs.take().expect("it was mounted");
        succeeds(sshfs.finish().await);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.sshfs.take().is_some() {
            // Without its server nobody could even look at the directory, or remove it.
            let mut umount = std::process::Command::new("fusermount3");
            let _ = umount.args(["-u", "-z"]).arg(&self.path).status();
        }
    }
}

/// The file system that a directory is on.
fn device(path: &Path) -> u64 {
    fs::metadata(path)
        .map(|data| data.dev())
        .unwrap_or_default()
}

/// `curl` to a path of the daemon, whose host key it is told.
async fn run_curl(target: &Target, scheme: &str, path: &str, arguments: &[&str]) -> Output {
    let mut curl = target.program("curl");
    let fingerprint = target.host_key().fingerprint_sha256();
    curl.args(["--silent", "--show-error", "--hostpubsha256", &fingerprint]);
    match (target.key(), target.password()) {
        // Of the two in --user the first ends at a colon, which ours have inside.
        (_, Some(password)) => {
            let user = target.user.replace(':', "%3A").replace('/', "%2F");
            curl.arg(format!(
                "{scheme}://{user}:{password}@{HOST}:{}{path}",
                target.port
            ));
        }
        (key, None) => {
            curl.args(["--user", &format!("{}:", target.user)]);
            curl.arg("--key").arg(key.expect("a way to get in"));
            curl.arg(format!("{scheme}://{HOST}:{}{path}", target.port));
        }
    }
    run(curl, arguments).await
}

async fn curl(target: &Target, scheme: &str, path: &str, arguments: &[&str]) -> String {
    succeeds(run_curl(target, scheme, path, arguments).await)
}

/// `lftp` with these commands; it goes on after one that fails, and its status is the last one's.
async fn run_lftp(target: &Target, commands: &str) -> Output {
    let mut lftp = target.program("lftp");
    let ssh = target.ssh_command();
    let script = format!(
        "set sftp:connect-program \"{ssh}\"\nset net:max-retries 1\nset cmd:fail-exit true\n\
         open sftp://{HOST}\n{commands}\n"
    );
    lftp.args(["--norc", "-f", "/dev/stdin"]);
    process::run(lftp, script.as_bytes()).await
}

async fn lftp(target: &Target, commands: &str) -> String {
    succeeds(run_lftp(target, commands).await)
}
