//! Bounds the connections that workerd holds on one machine (contract C26).
//!
//! workerd serves clients itself: a proxy in front of it would slow down every request, and hide
//! the client's address. But it accepts connections without a limit, and exits when it runs out of
//! descriptors. The loader puts this library in front of the C library (`LD_PRELOAD`,
//! `scripts/with-parent.sh`), so that workerd's calls of `accept4`, `recv` and `close` pass through
//! it. It handles only connections to the public port; `table` decides which of them stay.
//!
//! Promises: no call blocks, fails or makes an additional system call, except those that accept; a
//! descriptor is shut down only while its number certainly belongs to that connection. Settings
//! come from the environment (`State::new`).

pub mod refusal;
pub mod table;

use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use libc::{sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t, ssize_t};

use table::{Address, Limits, Table, Verdict, affordable};

/// How long a connection may be silent.
const SILENT_MILLIS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the number of closed connections is logged.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The highest number of descriptors: more are never open (`scripts/with-parent.sh`).
const DESCRIPTORS: usize = 1 << 20;
const OTHER: u8 = 0;
const SILENT: u8 = 1;
const ASKED: u8 = 2;
/// A refused request was left out of what was read: the next read answers it, and is the end.
const REFUSED: u8 = 3;

/// The kind of each descriptor, readable without a lock.
static KINDS: [AtomicU8; DESCRIPTORS] = [const { AtomicU8::new(OTHER) }; DESCRIPTORS];
static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new()));
static REAL: LazyLock<Real> = LazyLock::new(Real::find);
static WATCH: Once = Once::new();

type Accept4 = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;
type Recv = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int) -> ssize_t;
type RecvFrom =
    unsafe extern "C" fn(c_int, *mut c_void, usize, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
type Read = unsafe extern "C" fn(c_int, *mut c_void, usize) -> ssize_t;

/// The calls of the C library.
struct Real {
    accept4: Accept4,
    close: Close,
    recv: Recv,
    recvfrom: RecvFrom,
    read: Read,
}

impl Real {
    fn find() -> Self {
        // SAFETY: these are the signatures of those functions in the C library, which has them.
        unsafe {
            Self {
                accept4: transmute::<*mut c_void, Accept4>(next(c"accept4")),
                close: transmute::<*mut c_void, Close>(next(c"close")),
                recv: transmute::<*mut c_void, Recv>(next(c"recv")),
                recvfrom: transmute::<*mut c_void, RecvFrom>(next(c"recvfrom")),
                read: transmute::<*mut c_void, Read>(next(c"read")),
            }
        }
    }
}

/// The function with that name in the next library.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        std::process::abort(); // workerd could not have been linked either
    }
    found
}

struct State {
    table: Table,
    port: u16,
    proxies: Vec<IpNet>,
    started: Instant,
    /// Released when no other descriptor is left, in order to accept a connection and close it.
    spare: c_int,
    refused: u64,
    ended: u64,
}

impl State {
    /// `COLIBRI_PORT` is the public port; the others are variables of the service.
    #[expect(clippy::disallowed_methods, reason = "the clock of the Worker is not the clock of this machine")]
    fn new() -> Self {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is what the call writes to.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
        let descriptors = if known { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1_024 };
        let limits = Limits {
            all: affordable(setting("MAX_CONNECTIONS", 20_000), descriptors.min(DESCRIPTORS)),
            per_address: setting("MAX_CONNECTIONS_PER_ADDRESS", 1_000),
            silent_millis: SILENT_MILLIS,
        };
        let proxies = std::env::var("TRUSTED_PROXIES").unwrap_or_default();
        let network = |entry: &str| {
            entry.parse().or_else(|_| entry.parse::<IpAddr>().map(|one| one.to_canonical().into())).ok()
        };
        Self {
            table: Table::new(limits).sparing(is_unread),
            port: setting("COLIBRI_PORT", 0),
            proxies: proxies.split(',').filter_map(|entry| network(entry.trim())).collect(),
            started: Instant::now(),
            spare: spare(),
            refused: 0,
            ended: 0,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The address that limits a peer. Not limited are this machine, whose addresses all look the
    /// same, and proxies, behind which there are many people.
    fn counted(&self, peer: IpAddr) -> Option<Address> {
        let peer = peer.to_canonical();
        let exempt = peer.is_loopback() || self.proxies.iter().any(|network| network.contains(&peer));
        (!exempt).then(|| Address::of(peer))
    }
}

/// A number from the environment, or the default.
fn setting<N: FromStr>(name: &str, default: N) -> N {
    std::env::var(name).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(default)
}

/// A descriptor without a purpose.
fn spare() -> c_int {
    // SAFETY: the name ends with a zero.
    unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }
}

/// A thread that panicked here cannot have left the table half changed: nothing in it panics.
fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn kind(fd: c_int) -> Option<&'static AtomicU8> {
    KINDS.get(usize::try_from(fd).ok()?)
}

fn mark(fd: c_int, what: u8) {
    if let Some(kind) = kind(fd) {
        kind.store(what, Ordering::Release);
    }
}

fn is(fd: c_int, what: u8) -> bool {
    kind(fd).is_some_and(|kind| kind.load(Ordering::Acquire) == what)
}

/// Ends a connection: its owner reads the end and closes it.
fn end(fd: c_int) {
    mark(fd, OTHER);
    // SAFETY: the caller holds the lock that `close` needs, so the number is still its own.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn fail_with(error: c_int) -> c_int {
    // SAFETY: the place is this thread's own.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// Port and address of one side of a socket.
fn side(address: &sockaddr_storage) -> Option<(u16, IpAddr)> {
    match c_int::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family determines the type, and a storage is large enough for it.
            let address = unsafe { &*(&raw const *address).cast::<sockaddr_in>() };
            let octets = address.sin_addr.s_addr.to_ne_bytes();
            Some((u16::from_be(address.sin_port), Ipv4Addr::from(octets).into()))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*(&raw const *address).cast::<sockaddr_in6>() };
            Some((u16::from_be(address.sin6_port), Ipv6Addr::from(address.sin6_addr.s6_addr).into()))
        }
        _ => None,
    }
}

type Name = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;

/// The answer of `getsockname` or `getpeername`.
fn named(fd: c_int, name: Name) -> Option<(u16, IpAddr)> {
    // SAFETY: zeros are an address of no family.
    let mut address: sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = socklen_t::try_from(size_of::<sockaddr_storage>()).ok()?;
    // SAFETY: `length` is the size of `address`.
    let answered = unsafe { name(fd, (&raw mut address).cast(), &raw mut length) };
    if answered == 0 { side(&address) } else { None }
}

/// Accepts a connection, if it may stay. `ECONNABORTED` means to the caller that this one is gone and
/// that another may be waiting.
///
/// # Safety
///
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's arguments, as they are.
    let fd = unsafe { (REAL.accept4)(listener, address, length, flags) };
    if fd < 0 {
        return match errno() {
            libc::EMFILE | libc::ENFILE => out_of_descriptors(listener),
            error => fail_with(error),
        };
    }
    let mut state = state();
    let is_public = named(listener, libc::getsockname).is_some_and(|(port, _)| port == state.port);
    let peer = if is_public { named(fd, libc::getpeername) } else { None };
    let Some((_, peer)) = peer else { return fd };
    let (counted, now) = (state.counted(peer), state.now());
    match state.table.accept(fd, counted, now) {
        Verdict::Kept => {}
        Verdict::KeptFor(silent) => {
            end(silent);
            state.ended += 1;
        }
        Verdict::Refused => {
            // SAFETY: nobody else knows of it yet.
            unsafe { (REAL.close)(fd) };
            state.refused += 1;
            return fail_with(libc::ECONNABORTED);
        }
    }
    mark(fd, SILENT);
    drop(state);
    WATCH.call_once(|| drop(std::thread::Builder::new().name("connections".into()).spawn(watch)));
    fd
}

/// Makes room by ending the waiting connection: otherwise it would wait for ever, and workerd would
/// treat the error as fatal.
fn out_of_descriptors(listener: c_int) -> c_int {
    let mut state = state();
    if state.spare < 0 {
        state.spare = spare();
        return fail_with(libc::EAGAIN);
    }
    // SAFETY: the spare belongs to this library, and nobody else knows of the accepted descriptor.
    unsafe {
        (REAL.close)(state.spare);
        let fd = (REAL.accept4)(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC);
        if fd >= 0 {
            (REAL.close)(fd);
            state.refused += 1;
        }
    }
    state.spare = spare();
    fail_with(libc::ECONNABORTED)
}

/// Closes a descriptor.
///
/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is(fd, OTHER) {
        // SAFETY: the caller's argument, as it is.
        return unsafe { (REAL.close)(fd) };
    }
    // The lock is held until it is closed: until then the number must not be shut down.
    let mut state = state();
    state.table.close(fd);
    mark(fd, OTHER);
    // SAFETY: as above.
    unsafe { (REAL.close)(fd) }
}

/// Answers a refused request. It does not wait for a peer that reads nothing.
fn refuse(fd: c_int) {
    let answer = refusal::ANSWER;
    // SAFETY: the pointer and the length belong to the answer.
    unsafe { libc::send(fd, answer.as_ptr().cast(), answer.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

/// Whether a refused request is to be answered before anything else is read: workerd reads on when it has
/// answered what came before.
fn is_refused(fd: c_int) -> bool {
    let refused = is(fd, REFUSED);
    if refused {
        mark(fd, ASKED);
        refuse(fd);
    }
    refused
}

/// Checks what a connection sent. A refused request is answered, and then reads as the end; what came before
/// it is read first.
fn check_received(fd: c_int, bytes: *const c_void, count: ssize_t) -> ssize_t {
    if count <= 0 || is(fd, OTHER) {
        return count;
    }
    // SAFETY: the call wrote this many bytes there.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count.unsigned_abs()) };
    let mut is_first = false;
    if is(fd, SILENT) {
        let mut state = state();
        is_first = state.table.is_fresh(fd);
        if state.table.read(fd, bytes) {
            mark(fd, ASKED);
        }
    }
    match refusal::refused_from(bytes, is_first) {
        Some(0) => {
            refuse(fd);
            0
        }
        Some(before) => {
            mark(fd, REFUSED);
            // workerd read all that there was, so it waits for news. This is some.
            // SAFETY: it takes a number.
            unsafe { libc::shutdown(fd, libc::SHUT_RD) };
            ssize_t::try_from(before).unwrap_or(count)
        }
        None => count,
    }
}

/// Reads from a socket.
///
/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, buffer: *mut c_void, size: usize, flags: c_int) -> ssize_t {
    if is_refused(fd) {
        return 0;
    }
    // SAFETY: the caller's arguments, as they are.
    check_received(fd, buffer, unsafe { (REAL.recv)(fd, buffer, size, flags) })
}

/// Reads from a socket.
///
/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    size: usize,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> ssize_t {
    if is_refused(fd) {
        return 0;
    }
    // SAFETY: the caller's arguments, as they are.
    check_received(fd, buffer, unsafe { (REAL.recvfrom)(fd, buffer, size, flags, address, length) })
}

/// Reads from a descriptor.
///
/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, size: usize) -> ssize_t {
    if is_refused(fd) {
        return 0;
    }
    // SAFETY: the caller's arguments, as they are.
    check_received(fd, buffer, unsafe { (REAL.read)(fd, buffer, size) })
}

/// Whether a connection has sent bytes that workerd has not read yet.
fn is_unread(fd: c_int) -> bool {
    let mut waiting: c_int = 0;
    // SAFETY: it writes a number to `waiting`.
    let known = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut waiting) } == 0;
    known && waiting > 0
}

/// Ends connections that were silent for too long, and logs from time to time how many were closed.
#[expect(clippy::disallowed_methods, reason = "a thread of this machine, not of the Worker")]
fn watch() {
    let mut reported = Instant::now();
    loop {
        std::thread::sleep(LOOK_EVERY);
        let mut state = state();
        let now = state.now();
        for fd in state.table.expire(now) {
            end(fd);
            state.ended += 1;
        }
        let (refused, ended, open) = (state.refused, state.ended, state.table.len());
        if refused + ended == 0 || reported.elapsed() < SAY_EVERY {
            continue;
        }
        (state.refused, state.ended) = (0, 0);
        drop(state);
        reported = Instant::now();
        eprintln!("connections: {open} open; refused {refused}, ended {ended} that had asked nothing");
    }
}
