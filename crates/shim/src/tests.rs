//! Every message survives the wire; damaged ones are refused, not misread.

use super::*;

fn samples() -> Vec<Request> {
    let start = Start {
        id: "c".into(),
        pid: PidMode::Join(Fd { index: 7 }),
        ops: vec![
            Op::Mount { fs: "proc".into(), options: vec![], attr: 14, target: "/proc".into() },
            Op::Node { target: "/dev/null".into(), mode: 0o20666, dev: 0x103, uid: 0, gid: 0 },
            Op::Mask { target: "/proc/kcore".into() },
            Op::Keep { target: "/var/lib/data".into() },
        ],
        process: Process {
            args: vec!["a".into(), "ü".into()],
            rlimits: vec![(7, 1, 2)],
            ..Process::default()
        },
        ..Start::default()
    };
    vec![
        Request::Init(Init { hostname: "h".into(), netns: Some(Fd { index: 1 }), ..Init::default() }),
        Request::Start(Box::new(start)),
        Request::Exec(Box::default()),
        Request::Attach("x".into(), true),
        Request::KillExec(u64::MAX),
        Request::Shutdown,
    ]
}

#[test]
fn messages_survive_the_wire() {
    for request in samples() {
        let bytes = frame(9, &request);
        assert_eq!(unframe::<Request>(&bytes), Ok((9, request)));
    }
}

#[test]
fn truncated_and_overlong_messages_are_refused() {
    for request in samples() {
        let bytes = frame(9, &request);
        for cut in 0..bytes.len() {
            assert_eq!(unframe::<Request>(&bytes[..cut]), Err(Malformed), "cut at {cut}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(unframe::<Request>(&longer), Err(Malformed));
    }
}

#[test]
fn a_length_beyond_the_bytes_does_not_allocate() {
    let mut bytes = 1u32.to_le_bytes().to_vec();
    bytes.push(5);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(unframe::<Request>(&bytes), Err(Malformed));
}

fn lines(chunks: &[&[u8]]) -> String {
    let (mut lines, mut out) = (crilog::Lines::default(), Vec::new());
    for chunk in chunks {
        lines.push("stdout", b"T", chunk, &mut out);
    }
    lines.finish("stdout", b"T", &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn log_lines() {
    assert_eq!(lines(&[b"a\nb\n"]), "T stdout F a\nT stdout F b\n");
    assert_eq!(lines(&[b"a", b"b\n\n"]), "T stdout F ab\nT stdout F \n");
    assert_eq!(lines(&[b"no end"]), "T stdout P no end\n");
    assert_eq!(lines(&[]), "");
    let long = vec![b'x'; crilog::LINE_MAX];
    let x = "x".repeat(crilog::LINE_MAX);
    assert_eq!(lines(&[&long, b"\n"]), format!("T stdout F {x}\n"));
    assert_eq!(lines(&[&long, b"y\n"]), format!("T stdout P {x}\nT stdout F y\n"));
    assert_eq!(lines(&[&long, &long, b"z"]), format!("T stdout P {x}\nT stdout P {x}\nT stdout P z\n"));
}

#[test]
fn time_stamps() {
    for (nanoseconds, text) in [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
        (1_735_689_599_999_999_999, "2024-12-31T23:59:59.999999999Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
    ] {
        assert_eq!(std::str::from_utf8(&crilog::stamp(nanoseconds)).unwrap(), text);
    }
}
