//! How it ends early.

use super::*;

/// A reader that has seen enough is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = folder(&[("a", b"word")]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = allcores(&["demo", "--passes", "1"]);
    let output = command.arg(folder.path()).stdout(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!text(&output.stderr).contains("panic"), "{output:?}");
}

/// Starts a demonstration that would take days, and waits until it counts in this way.
fn endless(folder: &Path, way: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let passes = u64::MAX.to_string();
    let mut command = allcores(&["demo", "--passes", &passes, "--way", way]);
    let mut child = command
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, format!("allcores: counting: {way}\n"));
    (child, stderr)
}

#[test]
fn a_file_that_vanishes_ends_every_way_with_its_name() {
    for way in WAYS {
        let folder = folder(&[("stays", b"word"), ("vanishes", b"word")]);
        let (mut child, mut stderr) = endless(folder.path(), way);
        fs::remove_file(folder.path().join("vanishes")).unwrap();
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{way}: {said}");
        assert!(
            said.contains("vanishes changed while it was counted"),
            "{way}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{way}: {said}");
    }
}

#[test]
fn ctrl_c_ends_it_with_a_message_and_no_result() {
    let folder = folder(&[("a", b"word")]);
    for way in WAYS {
        // A terminal sends the signal to all processes, `kill` to one.
        for send in [kill_process, kill_process_group] {
            let (mut child, mut stderr) = endless(folder.path(), way);
            send(Pid::from_child(&child), Signal::INT).unwrap();
            // These end when the last process that has them is gone: so there are no orphans.
            let (mut said, mut printed) = (String::new(), String::new());
            stderr.read_to_string(&mut said).unwrap();
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_to_string(&mut printed).unwrap();
            assert_eq!(
                said,
                "allcores: interrupted; the totals are not complete, so there are none\n"
            );
            assert_eq!(printed, "");
            let status = child.wait().unwrap();
            assert_eq!((status.code(), status.signal()), (Some(130), None), "{way}");
        }
    }
}

/// The children of a process, by the parent that each process names.
fn children_of(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let children = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let found: u32 = fields.split(' ').nth(1)?.parse().ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        (found == parent).then(|| Pid::from_raw(pid))?
    });
    children.collect()
}

#[test]
fn a_worker_that_is_killed_ends_it_with_an_error() {
    let folder = folder(&[("a", b"word")]);
    let (mut child, mut stderr) = endless(folder.path(), "processes");
    let worker = loop {
        if let Some(worker) = children_of(child.id()).pop() {
            break worker;
        }
        std::thread::yield_now();
    };
    kill_process(worker, Signal::KILL).unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("allcores: a worker"), "{said}");
    assert!(
        said.contains("signal 9") || said.contains("started"),
        "{said}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
