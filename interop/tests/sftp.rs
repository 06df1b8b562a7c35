//! What OpenSSH's `sftp` can do: each of its commands, and what it tells where one fails.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use interop::openssh::{self, Files, OpenSsh, is_root};
use interop::process::{self, Output};
use support::files::{self, LARGE, LONG_AGO, Look};
use support::target::{HOST, Target, both, succeeds};
use tokio::process::Command;

/// Runs `sftp` with these options and commands, up to the first that fails.
async fn sftp_with(target: &Target, options: &[&str], batch: &str) -> Output {
    let mut sftp = target.sftp();
    // OpenSSH takes options behind the host for its path: these are of `ssh`'s kind, -o and a word.
    sftp.args(options);
    process::run(sftp, batch.as_bytes()).await
}

/// Runs commands that have to succeed; what they print, without their echo.
async fn sftp(target: &Target, batch: &str) -> String {
    let output = sftp_with(target, &[], batch).await;
    assert_eq!(output.stderr, "");
    answers(&succeeds(output))
}

/// What commands print, without their echo.
fn answers(output: &str) -> String {
    let lines = output.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("sftp> ")).collect()
}

/// The columns of a line of `ls -l`.
fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The line of `ls -l` that ends with a name.
fn line_of<'a>(listing: &'a str, name: &str) -> Vec<&'a str> {
    let found = listing.lines().find(|line| line.ends_with(name));
    columns(found.unwrap_or_else(|| panic!("no {name} in {listing}")))
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}

both! {
    async fn it_speaks_version_3(target: Target) {
        assert_eq!(sftp(&target, "version").await, "SFTP protocol version 3\n");
    }

    async fn directories_are_walked(target: Target) {
        let home = target.home().display();
        let said = sftp(&target, "pwd\nmkdir a\nmkdir a/b\ncd a/b\npwd\ncd ..\npwd\ncd\npwd\ncd /\npwd").await;
        let expected: String = ["", "/a/b", "/a", ""]
            .iter()
            .map(|path| format!("Remote working directory: {home}{path}\n"))
            .collect();
        assert_eq!(said, expected + "Remote working directory: /\n");
        assert!(target.home().join("a/b").is_dir());
        sftp(&target, "rmdir a/b\nrmdir a").await;
        assert!(!target.home().join("a").exists());
    }

    async fn the_own_side_has_directories_too(target: Target) {
        let dir = target.dir.display();
        let said = sftp(&target, "lpwd\nlmkdir here\nlcd here\nlpwd\n!touch made\nget -r tmp").await;
        let expected = format!("Local working directory: {dir}\nLocal working directory: {dir}/here\n");
        assert!(said.starts_with(&expected), "{said}");
        assert!(target.dir.join("here/made").exists());
        assert!(target.dir.join("here/tmp").is_dir());
    }

    async fn links_on_the_way_are_resolved(target: Target) {
        fs::create_dir_all(target.home().join("real/deep")).unwrap();
        symlink("real/deep", target.home().join("short")).unwrap();
        let said = sftp(&target, "cd short\npwd\ncd ..\npwd").await;
        let home = target.home().display();
        assert_eq!(said, format!("Remote working directory: {home}/real/deep\nRemote working directory: {home}/real\n"));
    }

    async fn listings_show_names(target: Target) {
        let dir = target.home().join("dir");
        fs::create_dir(&dir).unwrap();
        for (name, len) in [("b", 10), ("a", 30), (".hidden", 5), ("with space", 20)] {
            files::file(&dir.join(name), len);
        }
        files::make_old(&dir.join("b"));
        let plain = sftp(&target, "ls -1 dir").await;
        assert_eq!(plain, "dir/a\ndir/b\ndir/with space\n");
        let all = sftp(&target, "cd dir\nls -1a").await;
        assert_eq!(all, ".\n..\n.hidden\na\nb\nwith space\n");
        assert_eq!(sftp(&target, "cd dir\nls -1S").await, "a\nwith space\nb\n");
        assert_eq!(sftp(&target, "cd dir\nls -1rS").await, "b\nwith space\na\n");
        let by_time = sftp(&target, "cd dir\nls -1t").await;
        assert_eq!(by_time.lines().last(), Some("b"));
        assert_eq!(sftp(&target, "cd dir\nls -1 ?").await, "a\nb\n");
        assert_eq!(sftp(&target, "cd dir\nls -1 *sp*").await, "with space\n");
        let columns = sftp(&target, "cd dir\nls").await;
        assert_eq!(columns.split_whitespace().collect::<String>(), "abwithspace");
    }

    async fn long_listings_show_what_is_known(target: Target) {
        let dir = target.home().join("dir");
        fs::create_dir(&dir).unwrap();
        files::file(&dir.join("file"), 12345);
        files::set_mode(&dir.join("file"), 0o4751);
        files::make_old(&dir.join("file"));
        fs::create_dir(dir.join("below")).unwrap();
        symlink("file", dir.join("link")).unwrap();
        let owner = openssh::user().await;
        let id = rustix::process::getuid().as_raw().to_string();
        for command in ["ls -la dir", "ls -na dir"] {
            let listing = sftp(&target, command).await;
            let file = line_of(&listing, "/file");
            assert_eq!(file[0], "-rwsr-x--x", "{listing}");
            // Releases before 10 look the number up, on their own side.
            let numeric = command == "ls -na dir" && file[2] == id;
            assert!(file[2] == owner || numeric, "{listing}");
            assert_eq!(file[4], "12345", "{listing}");
            assert_eq!(file[5..8], ["Sep", "9", "2001"], "{listing}");
            assert!(line_of(&listing, "/below")[0].starts_with("drwx"), "{listing}");
            assert!(line_of(&listing, "/link")[0].starts_with("lrwx"), "{listing}");
            for dots in ["/.", "/.."] {
                assert!(line_of(&listing, dots)[0].starts_with("drwx"), "{listing}");
            }
        }
        let readable = sftp(&target, "ls -lh dir/file").await;
        assert_eq!(line_of(&readable, "/file")[4], "12.1K");
    }

    async fn many_names_are_all_listed(target: Target) {
        let dir = target.home().join("dir");
        fs::create_dir(&dir).unwrap();
        let names: Vec<String> = (0..2000).map(|n| format!("{n:04}-{}", "x".repeat(100))).collect();
        for name in &names {
            fs::write(dir.join(name), "").unwrap();
        }
        let listing = sftp(&target, "cd dir\nls -1").await;
        assert!(listing.lines().eq(&names), "{} lines", listing.lines().count());
    }

    async fn files_are_put_and_got(target: Target) {
        for len in [0, 1, 32 * 1024, 100_001] {
            files::file(&target.dir.join("file"), len);
            sftp(&target, "put file\nget file back\nput file tmp\nput file \"a name\"\nget \"a name\" named").await;
            for copy in ["file", "tmp/file", "a name"] {
                files::assert_same(&target.dir.join("file"), &target.home().join(copy));
            }
            for copy in ["back", "named"] {
                files::assert_same(&target.dir.join("file"), &target.dir.join(copy));
            }
        }
        // A shorter one takes the place of a longer one, and of it alone.
        files::file(&target.dir.join("file"), 10);
        sftp(&target, "put file\nget file back").await;
        files::assert_same(&target.dir.join("file"), &target.home().join("file"));
        files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
    }

    async fn large_files_are_put_and_got(target: Target) {
        files::file(&target.dir.join("file"), LARGE);
        // `-f` asks for them to be on the disk when they are told to have arrived.
        sftp(&target, "put -f file\nget -f file back").await;
        files::assert_same(&target.dir.join("file"), &target.home().join("file"));
        files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
    }

    async fn requests_may_be_of_any_size(target: Target) {
        files::file(&target.dir.join("file"), 1_000_000);
        for (size, outstanding) in [("1000", "200"), ("32768", "1"), ("261120", "64")] {
            let mut sftp = target.openssh("sftp");
            sftp.args(["-B", size, "-R", outstanding, "-b", "-", HOST]);
            let output = process::run(sftp, b"put file\nget file back").await;
            succeeds(output);
            files::assert_same(&target.dir.join("file"), &target.home().join("file"));
            files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
        }
    }

    async fn modes_and_times_are_kept_with_p(target: Target) {
        files::file(&target.dir.join("file"), 10);
        files::set_mode(&target.dir.join("file"), 0o751);
        files::make_old(&target.dir.join("file"));
        sftp(&target, "put file plain\nput -p file\nget -p file back\nget plain").await;
        for copy in [target.home().join("file"), target.dir.join("back")] {
            assert_eq!(files::mode(&copy), 0o751);
            assert_eq!(files::modified(&copy), LONG_AGO as i64);
        }
        for copy in [target.home().join("plain"), target.dir.join("plain")] {
            assert_ne!(files::modified(&copy), LONG_AGO as i64);
        }
    }

    async fn trees_are_put_and_got(target: Target) {
        let tree = target.dir.join("tree");
        files::tree(&tree);
        sftp(&target, "put -r tree\nget -r tree back").await;
        files::assert_same_tree(&tree, &target.home().join("tree"), Look::Contents);
        files::assert_same_tree(&tree, &target.dir.join("back"), Look::Contents);
        sftp(&target, "mkdir kept\nput -rp tree kept\nget -rp kept/tree kept").await;
        files::assert_same_tree(&tree, &target.home().join("kept/tree"), Look::ModesAndTimes);
        files::assert_same_tree(&tree, &target.dir.join("kept"), Look::ModesAndTimes);
    }

    async fn patterns_name_files_of_both_sides(target: Target) {
        for name in ["a.txt", "b.txt", "c.dat"] {
            files::file(&target.dir.join(name), 100);
        }
        sftp(&target, "mkdir up\nput *.txt up\nlmkdir back\nget up/[b-z]* back").await;
        for (place, there) in [(target.home().join("up"), ["a.txt", "b.txt"].as_slice()), (target.dir.join("back"), &["b.txt"])] {
            let entries = files::entries(&place, Look::Contents);
            assert_eq!(entries.len(), there.len() + 1, "{entries:?}");
            for name in there {
                files::assert_same(&target.dir.join(name), &place.join(name));
            }
        }
        sftp(&target, "rm up/*.txt\nrmdir up").await;
    }

    async fn what_was_cut_off_is_continued(target: Target) {
        let content = files::file(&target.dir.join("file"), 300_000);
        // The first half is another one, so that it shows whether it was sent again.
        let mut half = content.clone();
        half.truncate(150_000);
        half.fill(b'!');
        let continued = [&half[..], &content[150_000..]].concat();
        for put in ["reput file up", "put -a file up"] {
            fs::write(target.home().join("up"), &half).unwrap();
            sftp(&target, put).await;
            assert!(fs::read(target.home().join("up")).unwrap() == continued, "{put}");
        }
        fs::write(target.home().join("whole"), &content).unwrap();
        for get in ["reget whole back", "get -a whole back"] {
            fs::write(target.dir.join("back"), &half).unwrap();
            sftp(&target, get).await;
            assert!(fs::read(target.dir.join("back")).unwrap() == continued, "{get}");
        }
    }

    async fn files_are_copied_where_they_are(target: Target) {
        files::file(&target.home().join("file"), 3_000_000);
        files::set_mode(&target.home().join("file"), 0o640);
        files::file(&target.home().join("nothing"), 0);
        sftp(&target, "cp file other\ncopy nothing none").await;
        files::assert_same(&target.home().join("file"), &target.home().join("other"));
        files::assert_same(&target.home().join("nothing"), &target.home().join("none"));
        assert_eq!(files::mode(&target.home().join("other")), 0o640);
    }

    async fn files_are_renamed_and_removed(target: Target) {
        let content = files::file(&target.home().join("one"), 10);
        files::file(&target.home().join("two"), 20);
        let path = |name: &str| target.home().join(name);
        sftp(&target, "rename one three").await;
        assert!(!path("one").exists() && fs::read(path("three")).unwrap() == content);
        // As rename(2) does: in the place of what is there.
        sftp(&target, "rename three two").await;
        assert!(!path("three").exists() && fs::read(path("two")).unwrap() == content);
        sftp(&target, "mkdir dir\nrename two dir/two\nrename dir other").await;
        assert!(fs::read(path("other/two")).unwrap() == content);
        sftp(&target, "rm other/two\nrmdir other").await;
        assert!(!path("other").exists());
    }

    async fn an_old_rename_replaces_nothing(target: Target) {
        files::file(&target.home().join("one"), 10);
        let there = files::file(&target.home().join("two"), 20);
        let output = sftp_with(&target, &[], "rename -l one two").await;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("Failure"), "{}", output.stderr);
        assert!(fs::read(target.home().join("two")).unwrap() == there);
        sftp(&target, "rename -l one three").await;
        assert!(target.home().join("three").exists());
    }

    async fn links_are_made(target: Target) {
        let path = |name: &str| target.home().join(name);
        files::file(&path("file"), 10);
        sftp(&target, "ln file hard\nln -s file soft\nsymlink nowhere dangling").await;
        assert_eq!(inode(&path("hard")), inode(&path("file")));
        assert_eq!(fs::read_link(path("soft")).unwrap(), Path::new("file"));
        assert_eq!(fs::read_link(path("dangling")).unwrap(), Path::new("nowhere"));
        // What is removed is the link.
        sftp(&target, "rm soft\nrm hard\nrm dangling").await;
        assert!(path("file").exists() && !path("soft").exists());
    }

    async fn permissions_and_owners_are_changed(target: Target) {
        let path = |name: &str| target.home().join(name);
        files::file(&path("file"), 10);
        symlink("file", path("link")).unwrap();
        // Only the super user may give files away.
        let (us, ours) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (user, group) = if is_root() { (12345, 54321) } else { (us, ours) };
        let batch = format!("chmod 4711 file\nchown {user} file\nchgrp {group} file\nchmod 640 file\nchown -h {user} link\nchgrp -h {group} link");
        sftp(&target, &batch).await;
        for name in ["file", "link"] {
            let data = fs::symlink_metadata(path(name)).unwrap();
            assert_eq!((data.uid(), data.gid()), (user, group), "{name}");
        }
        assert_eq!(files::mode(&path("file")), 0o640);
        // Without -h it is the file behind the link that is changed.
        sftp(&target, &format!("chmod 600 link\nchown {us} link")).await;
        assert_eq!(files::mode(&path("file")), 0o600);
        assert_eq!(fs::metadata(path("file")).unwrap().uid(), us);
        assert_eq!(fs::symlink_metadata(path("link")).unwrap().uid(), user);
    }

    async fn the_room_on_the_disk_is_told(target: Target) {
        let disk = rustix::fs::statvfs(target.home()).unwrap();
        let said = sftp(&target, "df").await;
        let [head, line] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{said}");
        };
        assert_eq!(columns(head)[..3], ["Size", "Used", "Avail"]);
        let kilobytes = disk.f_blocks * disk.f_frsize / 1024;
        assert_eq!(columns(line)[0], kilobytes.to_string());
        let inodes = sftp(&target, "df -i").await;
        assert!(inodes.starts_with("     Inodes"), "{inodes}");
        let line = inodes.lines().last().unwrap();
        assert_eq!(columns(line)[0], disk.f_files.to_string());
        let readable = sftp(&target, "df -h tmp").await;
        assert!(readable.lines().last().unwrap().ends_with('%'), "{readable}");
    }

    async fn its_own_commands_work(target: Target) {
        let said = sftp(&target, "progress\nprogress\nlumask 022\n!echo from the shell\nhelp").await;
        for text in ["Progress meter ", "Local umask: 022", "from the shell", "Available commands:"] {
            assert!(said.contains(text), "{said}");
        }
    }

    async fn failures_are_told(target: Target) {
        fs::create_dir(target.home().join("full")).unwrap();
        files::file(&target.home().join("full/file"), 1);
        files::file(&target.dir.join("file"), 10);
        for (command, text) in [
            ("get missing", "not found"),
            ("get full", "not a regular file"),
            ("get /sys/bus/platform/drivers_probe back", "Permission denied"),
            ("put file no/such/path", "No such file or directory"),
            ("put file /sys/file", "Permission denied"),
            ("cd missing", "No such file or directory"),
            ("cd full/file", "Can't change directory"),
            ("ls missing", "not found"),
            ("mkdir full", "Failure"),
            ("mkdir no/such", "No such file or directory"),
            ("mkdir /sys/dir", "Permission denied"),
            ("rmdir missing", "No such file or directory"),
            ("rmdir full", "Failure"),
            ("rm missing", "No such file or directory"),
            ("rm full", "Failure"),
            ("rename missing other", "No such file or directory"),
            ("ln missing other", "No such file or directory"),
            ("ln -s file full", "Failure"),
            ("chmod 600 missing", "No such file or directory"),
            ("chown 1 missing", "No such file or directory"),
            ("cp missing other", "No such file or directory"),
            // Of this one the client says nothing.
            ("df missing", ""),
        ] {
            // What comes after the first failure is not done.
            let output = sftp_with(&target, &[], &format!("{command}\nmkdir after")).await;
            assert_eq!(output.status.code(), Some(1), "{command}");
            assert!(output.stderr.contains(text), "{command}: {}", output.stderr);
            assert!(!target.home().join("after").exists(), "{command}");
        }
        assert!(target.home().join("full/file").exists());
    }

    async fn a_failure_that_is_allowed_ends_nothing(target: Target) {
        let output = sftp_with(&target, &[], "-rm missing\n-cd missing\nmkdir after").await;
        assert!(output.stderr.contains("missing"), "{}", output.stderr);
        succeeds(output);
        assert!(target.home().join("after").is_dir());
    }

    /// OpenSSH 10 asks for names of users and groups, which the server knows and it does not.
    async fn openssh_10_gets_along(target: Target) {
        let dir = target.home().join("dir");
        fs::create_dir(&dir).unwrap();
        files::file(&dir.join("file"), 100_000);
        let files = Files::new(OpenSsh::Ten);
        let batch = "ls -la dir\ncp dir/file dir/copy\nget dir/copy /tmp/copy\n!rm /tmp/copy\nrm dir/copy\nversion";
        let output = process::run(sftp_10(&target, &files), batch.as_bytes()).await;
        let said = answers(&succeeds(output));
        let file = line_of(&said, "/file");
        assert_eq!(file[2], openssh::user().await, "{said}");
        assert!(said.ends_with("SFTP protocol version 3\n"), "{said}");
    }
}

/// The `sftp` of OpenSSH 10, with copies of what the client needs where it can see them.
fn sftp_10(target: &Target, files: &Files) -> Command {
    let read = |path: &Path| fs::read(path).expect("a file");
    let mut sftp = OpenSsh::Ten.program("sftp");
    let known_hosts = files.write("known_hosts", read(&target.known_hosts));
    sftp.arg(format!("-oUserKnownHostsFile={known_hosts}"));
    if let Some(key) = target.key() {
        let identity = files.write("identity", read(key));
        sftp.arg(format!("-oIdentityFile={identity}"));
    }
    if let Some(password) = target.password() {
        let script = files.write("askpass", format!("#!/bin/sh\necho {password}\n"));
        let place = files.place("askpass");
        fs::set_permissions(place, fs::Permissions::from_mode(0o700)).expect("its permissions");
        sftp.env("SSH_ASKPASS", script)
            .env("SSH_ASKPASS_REQUIRE", "force");
    }
    // The first one counts: those with paths of ours come too late.
    sftp.args(target.options()).args(["-b", "-", HOST]);
    sftp
}
