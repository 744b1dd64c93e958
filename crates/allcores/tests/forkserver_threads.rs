//! A program whose constructor leaves a thread behind, so that forking it is not safe.

use std::ffi::{c_char, c_int};

use allcores::multiprocessing::process::{ForkServerError, StartError};
use allcores::multiprocessing::{Process, StartMethod};

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// After the library's own, so that a fork server runs it as well.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: Constructor = leaves_a_thread;

extern "C" fn leaves_a_thread(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
}

/// Who the kernel says the parent of this process is.
fn kernel_parent(_: ()) -> u32 {
    // SAFETY: takes nothing and cannot fail.
    (unsafe { libc::getppid() }) as u32
}

#[test]
fn it_is_spawned_unless_the_fork_server_was_asked_for() {
    // Twice: what was found out is remembered.
    for _ in 0..2 {
        if std::env::var_os("ALLCORES_START_METHOD").is_none() {
            let p = Process::new(kernel_parent, ()).start().unwrap();
            assert_eq!(p.result().unwrap(), std::process::id());
        }
        let asked = Process::new(kernel_parent, ()).start_method(StartMethod::ForkServer);
        match asked.start() {
            Err(StartError::ForkServer(ForkServerError::Threads { more, by_preload })) => {
                assert_eq!((more, by_preload), (1, false));
            }
            other => panic!("{other:?}"),
        }
    }
}
