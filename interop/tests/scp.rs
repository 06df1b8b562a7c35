//! Copies by OpenSSH's `scp`, by its own protocol (`-O`) and by SFTP (`-s`).

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use interop::process::{self, Output};
use support::files::{self, LARGE, LONG_AGO, Look};
use support::target::{Target, both, remote, succeeds};

/// Its own protocol, and SFTP.
const PROTOCOLS: [&str; 2] = ["-O", "-s"];

/// Runs `scp` with these arguments to its end.
async fn scp<A: AsRef<OsStr>>(target: &Target, arguments: impl IntoIterator<Item = A>) -> Output {
    let mut scp = target.scp();
    scp.args(arguments);
    process::run(scp, b"").await
}

/// The same for a copy that has to succeed, and quietly.
async fn copy<A: AsRef<OsStr>>(target: &Target, arguments: impl IntoIterator<Item = A>) {
    let output = scp(target, arguments).await;
    assert_eq!(output.stderr, "");
    assert_eq!(succeeds(output), "");
}

/// A name on the other side. Only of its own protocol it is also read by a shell, where `scp` itself
/// understands no quotes but backslashes.
fn spelt(protocol: &str, name: &OsStr) -> OsString {
    let mut spelt = remote("").into_bytes();
    for &byte in name.as_bytes() {
        if protocol == "-O" && b" '\"$;`&|<>()".contains(&byte) {
            spelt.push(b'\\');
        }
        spelt.push(byte);
    }
    OsString::from_vec(spelt)
}

fn names_in(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    names
}

both! {
    async fn files_of_all_sizes_arrive_whole(target: Target) {
        for protocol in PROTOCOLS {
            for len in [0, 1, 32 * 1024, 100_001] {
                files::file(&target.dir.join("file"), len);
                copy(&target, [protocol, "file", &remote("up")]).await;
                files::assert_same(&target.dir.join("file"), &target.home().join("up"));
                copy(&target, [protocol, &remote("up"), "back"]).await;
                files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
            }
        }
    }

    async fn large_files_arrive_whole(target: Target) {
        files::file(&target.dir.join("file"), LARGE);
        for protocol in PROTOCOLS {
            copy(&target, [protocol, "file", &remote("up")]).await;
            files::assert_same(&target.dir.join("file"), &target.home().join("up"));
            copy(&target, [protocol, &remote("up"), "back"]).await;
            files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
        }
    }

    async fn a_copy_replaces_all_of_a_longer_file(target: Target) {
        files::file(&target.dir.join("short"), 10);
        for protocol in PROTOCOLS {
            files::file(&target.home().join("there"), 100_000);
            copy(&target, [protocol, "short", &remote("there")]).await;
            files::assert_same(&target.dir.join("short"), &target.home().join("there"));
            files::file(&target.dir.join("here"), 100_000);
            copy(&target, [protocol, &remote("there"), "here"]).await;
            files::assert_same(&target.dir.join("short"), &target.dir.join("here"));
        }
    }

    async fn paths_may_be_absolute_and_directories(target: Target) {
        files::file(&target.dir.join("file"), 1000);
        for protocol in PROTOCOLS {
            let tmp = target.home().join("tmp");
            copy(&target, [protocol, "file", &remote(tmp.to_str().unwrap())]).await;
            files::assert_same(&target.dir.join("file"), &tmp.join("file"));
            fs::remove_file(tmp.join("file")).unwrap();
            copy(&target, [protocol, "file", &remote("tmp/")]).await;
            files::assert_same(&target.dir.join("file"), &tmp.join("file"));
            // No path at all is the directory that others start from.
            copy(&target, [protocol, "file", &remote("")]).await;
            files::assert_same(&target.dir.join("file"), &target.home().join("file"));
            let path = target.home().join("file");
            copy(&target, [protocol, &remote(path.to_str().unwrap()), "back"]).await;
            files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
            fs::remove_file(path).unwrap();
        }
    }

    async fn the_mode_comes_along_and_the_time_is_now(target: Target) {
        for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
            let (up, back) = (format!("up-{number}"), format!("back-{number}"));
            let file = target.dir.join("file");
            files::file(&file, 10);
            files::set_mode(&file, 0o750);
            files::make_old(&file);
            copy(&target, [protocol, "file", &remote(&up)]).await;
            copy(&target, [protocol, &remote(&up), &back]).await;
            for copied in [target.home().join(up), target.dir.join(back)] {
                // Some umask forbids the last bits at most.
                assert_eq!(files::mode(&copied) & 0o700, 0o700);
                assert_eq!(files::mode(&copied) & !0o750, 0);
                assert_ne!(files::modified(&copied), LONG_AGO as i64);
            }
        }
    }

    async fn modes_and_times_are_kept_with_p(target: Target) {
        for protocol in PROTOCOLS {
            let file = target.dir.join("file");
            files::file(&file, 10);
            files::set_mode(&file, 0o4751);
            files::make_old(&file);
            // A file that is there with others is changed too.
            files::file(&target.home().join("there"), 99);
            for up in ["up", "there"] {
                copy(&target, [protocol, "-p", "file", &remote(up)]).await;
                copy(&target, [protocol, "-p", &remote(up), "back"]).await;
                for copied in [target.home().join(up), target.dir.join("back")] {
                    files::assert_same(&file, &copied);
                    assert_eq!(files::mode(&copied) & 0o777, 0o751);
                    assert_eq!(files::modified(&copied), LONG_AGO as i64);
                }
            }
        }
    }

    async fn trees_arrive_whole(target: Target) {
        files::tree(&target.dir.join("tree"));
        for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
            let name = format!("copy-{number}");
            let (up, back) = (target.home().join(&name), target.dir.join(&name));
            copy(&target, [protocol, "-r", "tree", &remote(&name)]).await;
            files::assert_same_tree(&target.dir.join("tree"), &up, Look::Contents);
            copy(&target, [protocol, "-r", &remote(&name), &name]).await;
            files::assert_same_tree(&up, &back, Look::Contents);
            // Into a directory that exists it goes by its name.
            copy(&target, [protocol, "-r", "tree", &remote(&name)]).await;
            files::assert_same_tree(&target.dir.join("tree"), &up.join("tree"), Look::Contents);
        }
    }

    async fn trees_keep_modes_and_times_with_p(target: Target) {
        let tree = target.dir.join("tree");
        files::tree(&tree);
        for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
            let name = format!("copy-{number}");
            copy(&target, [protocol, "-rp", "tree", &remote(&name)]).await;
            files::assert_same_tree(&tree, &target.home().join(&name), Look::ModesAndTimes);
            copy(&target, [protocol, "-rp", &remote(&name), &name]).await;
            files::assert_same_tree(&tree, &target.dir.join(&name), Look::ModesAndTimes);
        }
    }

    async fn several_sources_go_into_a_directory(target: Target) {
        files::tree(&target.dir.join("tree"));
        let names = ["one", "two", "three"];
        for (number, name) in names.into_iter().enumerate() {
            files::file(&target.dir.join(name), 1000 * number);
        }
        for protocol in PROTOCOLS {
            let up = target.home().join("up");
            fs::create_dir(&up).unwrap();
            copy(&target, [protocol, "-r", "one", "two", "tree", "three", &remote("up")]).await;
            let back = target.dir.join("back");
            fs::create_dir(&back).unwrap();
            let sources = ["up/one", "up/two", "up/tree", "up/three"].map(remote);
            let [one, two, tree, three] = &sources;
            copy(&target, [protocol, "-r", one, two, tree, three, "back"]).await;
            for copied in [&up, &back] {
                assert_eq!(names_in(copied), ["one", "three", "tree", "two"]);
                for name in names {
                    files::assert_same(&target.dir.join(name), &copied.join(name));
                }
                let tree = target.dir.join("tree");
                files::assert_same_tree(&tree, &copied.join("tree"), Look::Contents);
            }
            fs::remove_dir_all(up).unwrap();
            fs::remove_dir_all(back).unwrap();
        }
    }

    async fn patterns_name_files_of_the_other_side(target: Target) {
        let all = target.home().join("all");
        fs::create_dir(&all).unwrap();
        for name in ["a.txt", "b.txt", "c.dat", "x1", "x2", "x3"] {
            files::file(&all.join(name), 100 + name.len());
        }
        for (pattern, names) in [
            ("all/*.txt", &["a.txt", "b.txt"][..]),
            ("all/x?", &["x1", "x2", "x3"]),
            ("all/x[13]", &["x1", "x3"]),
            ("a*/c.*", &["c.dat"]),
        ] {
            for protocol in PROTOCOLS {
                let back = target.dir.join("back");
                fs::create_dir(&back).unwrap();
                copy(&target, [protocol, &remote(pattern), "back"]).await;
                assert_eq!(names_in(&back), names, "{protocol} {pattern}");
                for name in names {
                    files::assert_same(&all.join(name), &back.join(name));
                }
                fs::remove_dir_all(back).unwrap();
            }
        }
    }

    async fn any_name_is_a_name(target: Target) {
        let names = [
            OsStr::new("with space"),
            OsStr::new("it's"),
            OsStr::new("\"quoted\""),
            OsStr::new("$HOME;`id`&|<>()"),
            OsStr::new("-rf"),
            OsStr::new("grün"),
            files::not_utf8(),
        ];
        for name in names {
            for protocol in PROTOCOLS {
                let (here, there) = (target.dir.join(name), target.home().join(name));
                files::file(&here, 100);
                // Options end at two dashes.
                copy(&target, [OsStr::new(protocol), OsStr::new("--"), name, OsStr::new(&remote(""))]).await;
                files::assert_same(&here, &there);
                let back = target.dir.join("back");
                copy(&target, [OsStr::new(protocol), &spelt(protocol, name), back.as_os_str()]).await;
                files::assert_same(&here, &back);
                // And as the name of the copy.
                copy(&target, [OsStr::new(protocol), back.as_os_str(), &spelt(protocol, name)]).await;
                files::assert_same(&back, &there);
                for path in [here, there, back] {
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }

    async fn files_go_from_there_to_there(target: Target) {
        let content = files::file(&target.home().join("from"), 100_000);
        for protocol in PROTOCOLS {
            copy(&target, [protocol, "-3", &remote("from"), &remote("to")]).await;
            assert!(fs::read(target.home().join("to")).unwrap() == content);
            fs::remove_file(target.home().join("to")).unwrap();
        }
    }

    async fn what_cannot_be_read_is_told(target: Target) {
        fs::create_dir(target.home().join("directory")).unwrap();
        for protocol in PROTOCOLS {
            for (path, text) in [
                ("missing", "no such file or directory"),
                ("no/such/path", "no such file or directory"),
                ("directory", "not a regular file"),
                (UNREADABLE, "permission denied"),
            ] {
                let output = scp(&target, [protocol, &remote(path), "back"]).await;
                assert_eq!(output.status.code(), Some(1), "{protocol} {path}");
                let told = output.stderr.to_lowercase();
                assert!(told.contains(text), "{protocol} {path}: {told}");
            }
        }
    }

    async fn what_cannot_be_written_is_told(target: Target) {
        files::file(&target.dir.join("file"), 10);
        files::file(&target.home().join("plain"), 10);
        for protocol in PROTOCOLS {
            for (path, text) in [
                ("no/such/path", "no such file or directory"),
                (UNWRITABLE, "permission denied"),
                ("plain/below", "scp: "),
            ] {
                let output = scp(&target, [protocol, "file", &remote(path)]).await;
                assert_eq!(output.status.code(), Some(1), "{protocol} {path}");
                let told = output.stderr.to_lowercase();
                assert!(told.contains(text), "{protocol} {path}: {told}");
            }
        }
    }

    async fn several_files_need_a_directory(target: Target) {
        files::file(&target.dir.join("file"), 10);
        let plain = files::file(&target.home().join("plain"), 20);
        for path in ["missing", "plain"] {
            // Over SFTP it is the client who is to look, and this one does not.
            let output = scp(&target, ["-O", "file", "file", &remote(path)]).await;
            assert_eq!(output.status.code(), Some(1), "{path}");
        }
        assert!(!target.home().join("missing").exists());
        assert_eq!(fs::read(target.home().join("plain")).unwrap(), plain);
    }

    async fn the_others_come_where_one_fails(target: Target) {
        for name in ["first", "last"] {
            files::file(&target.home().join(name), 1000);
        }
        for protocol in PROTOCOLS {
            let back = target.dir.join("back");
            fs::create_dir(&back).unwrap();
            let sources = ["first", "missing", "last"].map(remote);
            let [first, missing, last] = &sources;
            let output = scp(&target, [protocol, first, missing, last, "back"]).await;
            assert_eq!(output.status.code(), Some(1), "{protocol}");
            assert_eq!(names_in(&back), ["first", "last"], "{protocol}");
            fs::remove_dir_all(back).unwrap();
        }
    }
}

/// Linux lets nobody read this, not even the super user.
const UNREADABLE: &str = "/sys/bus/platform/drivers_probe";
/// Nor make files here.
const UNWRITABLE: &str = "/sys/file";
