"""The pool of threads as LLVM IR: regions of independent items, the caller among those who run them.

A region is one row of a table: a function, its array of pointers, and how many items there are. The ticket is one word:

    bits 0..31   items that nobody has claimed yet
    bits 32..42  limit: threads with a smaller slot may claim (the caller's slot is 0)
    bits 43..63  epoch: counts regions, so that the upper half differs from what a sleeping thread saw

A thread claims items by compare-and-swap of the whole ticket, and reads what there is to do after that: the region
cannot end before its claimed items are done, thus whoever claims has the right region, however late it comes. The
caller claims like the others, then waits for the count of finished items: threads that sleep, or that do not exist (as
in a process that was forked), delay nothing but speed.

A row is 8 words: function, pointers, items, flags, how many pointers, offsets, 0, 0. Where `offsets` is not null some
of its arrays are workspaces: each thread has a slot, copies the pointers to its beginning, and puts slot + offset for
those with an offset that is not negative. A context is 8 words: busy, rows, pointers, slots, bytes of a slot, how many
slots, next, 0.

In: which system it is. Out: text. The one rule: what a thread does depends on the ticket that it claimed from, and on
nothing else that may change meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

MOST = 1024  # threads
ITEMS = 2**32 - 1  # that one region can have
SPINS = 20000  # pauses before a thread sleeps
SHARED, WAKE = 1, 2  # flags of a row: others may help, and are woken for it


@dataclass(frozen=True)
class System:
    """How threads sleep: by `futex`, by a `condition` of pthreads, or not at all (`none`: there are no threads).

    `futex` is the number of that system call; `block` and `restore` are what `pthread_sigmask` wants, `blocked` are the
    signals' bits: all but those that a fault raises, as the others are Python's affair, and go to its threads.
    """

    sleep: str
    pause: str = ""
    futex: int = 0
    block: int = 0
    restore: int = 2
    blocked: int = ~0b100_1100_1000  # SIGILL, SIGBUS, SIGFPE, SIGSEGV


FUTEX = {"x86_64": 202, "amd64": 202, "aarch64": 98, "arm64": 98, "riscv64": 98, "ppc64le": 221}
_X86, _ARM = "call void @llvm.x86.sse2.pause()", "call void @llvm.aarch64.isb(i32 15)"
PAUSES = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


def system(platform: str, machine: str, byteorder: str, pointer: int = 8) -> System:
    """What there is on a machine: `sys.platform`, `platform.machine()`, `sys.byteorder`, the bytes of a pointer."""
    machine = machine.lower()
    pause = PAUSES.get(machine, "")
    if byteorder != "little" or pointer != 8:
        return System("none")
    if platform == "linux" and machine in FUTEX:
        return System("futex", pause, FUTEX[machine])
    if platform == "linux":
        return System("condition", pause)
    if platform == "darwin":
        return System("condition", pause, 0, 1, 3, ~0b110_1000_1000)
    return System("none")


def symbols(of: System) -> tuple[str, ...]:
    """The functions of the system that the text calls."""
    always = ("pthread_create", "pthread_detach", "pthread_sigmask", "sched_yield")
    mutex = tuple(f"pthread_mutex_{verb}" for verb in ("init", "lock", "unlock"))
    condition = tuple(f"pthread_cond_{verb}" for verb in ("init", "wait", "broadcast"))
    return {"none": (), "futex": (*always, "syscall"), "condition": (*always, *mutex, *condition)}[of.sleep]


def text(of: System) -> str:
    """The whole module. It defines `pool_run(context, rows)`, `pool_reset()`, and the words `pool_state`."""
    if of.sleep == "none":
        return STATE + ROWS.replace("call void @shared(", "call void @alone(") + NONE
    first = "call void @renew()" if of.sleep == "condition" else ""
    sleeping = CONDITION if of.sleep == "condition" else Template(BY_FUTEX).substitute(number=of.futex)
    masks = {"block": of.block, "restore": of.restore, "blocked": of.blocked}
    threads = Template(THREADS).substitute(masks, pause=of.pause, spins=SPINS, renew=first)
    return STATE + ROWS + REGION + threads + sleeping


# Words of `pool_state`: 0 threads wanted, 1 threads started, 2 whether one could not be, 3 regions run by several.
STATE = """
@pool_state = global [16 x i64] zeroinitializer, align 128
@ticket = internal global [16 x i64] zeroinitializer, align 128
@done = internal global [16 x i64] zeroinitializer, align 128
@owner = internal global [16 x i64] zeroinitializer, align 128
@asleep = internal global [16 x i64] zeroinitializer, align 128
@job = internal global [16 x i64] zeroinitializer, align 128
"""

ROWS = """
define internal void @work(ptr %row, ptr %context, i64 %slot, i64 %first, i64 %past) {
entry:
  %function = load ptr, ptr %row
  %at1 = getelementptr i64, ptr %row, i64 1
  %pointers = load ptr, ptr %at1
  %at5 = getelementptr i64, ptr %row, i64 5
  %offsets = load ptr, ptr %at5
  %shared = icmp eq ptr %offsets, null
  br i1 %shared, label %items, label %own
own:
  %at4 = getelementptr i64, ptr %row, i64 4
  %count = load i64, ptr %at4
  %slots.at = getelementptr i64, ptr %context, i64 3
  %slots = load ptr, ptr %slots.at
  %bytes.at = getelementptr i64, ptr %context, i64 4
  %bytes = load i64, ptr %bytes.at
  %ahead = mul i64 %bytes, %slot
  %base = getelementptr i8, ptr %slots, i64 %ahead
  br label %copy
copy:
  %k = phi i64 [ 0, %own ], [ %k.next, %copy ]
  %from = getelementptr ptr, ptr %pointers, i64 %k
  %given = load ptr, ptr %from
  %offset.at = getelementptr i64, ptr %offsets, i64 %k
  %offset = load i64, ptr %offset.at
  %none = icmp slt i64 %offset, 0
  %place = getelementptr i8, ptr %base, i64 %offset
  %value = select i1 %none, ptr %given, ptr %place
  %to = getelementptr ptr, ptr %base, i64 %k
  store ptr %value, ptr %to
  %k.next = add i64 %k, 1
  %more.pointers = icmp ult i64 %k.next, %count
  br i1 %more.pointers, label %copy, label %items
items:
  %arrays = phi ptr [ %pointers, %entry ], [ %base, %copy ]
  %some = icmp ult i64 %first, %past
  br i1 %some, label %item, label %end
item:
  %i = phi i64 [ %first, %items ], [ %i.next, %item ]
  call void %function(ptr %arrays, i64 %i)
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %past
  br i1 %more, label %item, label %end
end:
  ret void
}

define internal void @alone(ptr %row, ptr %context, i64 %items, i64 %flags) {
  call void @work(ptr %row, ptr %context, i64 0, i64 0, i64 %items)
  ret void
}

define void @pool_run(ptr %context, i64 %count) {
entry:
  %rows.at = getelementptr i64, ptr %context, i64 1
  %rows = load ptr, ptr %rows.at
  %some = icmp ne i64 %count, 0
  br i1 %some, label %next, label %end
next:
  %r = phi i64 [ 0, %entry ], [ %r.next, %ran ]
  %words = mul i64 %r, 8
  %row = getelementptr i64, ptr %rows, i64 %words
  %at2 = getelementptr i64, ptr %row, i64 2
  %items = load i64, ptr %at2
  %at3 = getelementptr i64, ptr %row, i64 3
  %flags = load i64, ptr %at3
  %helped = and i64 %flags, 1
  %may = icmp ne i64 %helped, 0
  br i1 %may, label %together, label %single
together:
  call void @shared(ptr %row, ptr %context, i64 %items, i64 %flags)
  br label %ran
single:
  call void @alone(ptr %row, ptr %context, i64 %items, i64 %flags)
  br label %ran
ran:
  %r.next = add i64 %r, 1
  %more = icmp ult i64 %r.next, %count
  br i1 %more, label %next, label %end
end:
  ret void
}
"""

NONE = """
define void @pool_reset() {
  ret void
}
"""

REGION = """
declare i64 @llvm.umin.i64(i64, i64)
declare i32 @llvm.umax.i32(i32, i32)

define internal void @shared(ptr %row, ptr %context, i64 %items, i64 %flags) {
entry:
  %wanted = load atomic i64, ptr @pool_state monotonic, align 8
  %at5 = getelementptr i64, ptr %row, i64 5
  %offsets = load ptr, ptr %at5
  %free = icmp eq ptr %offsets, null
  %slots.at = getelementptr i64, ptr %context, i64 5
  %slots = load i64, ptr %slots.at
  %room = select i1 %free, i64 1024, i64 %slots
  %most = call i64 @llvm.umin.i64(i64 %wanted, i64 %room)
  %limit = call i64 @llvm.umin.i64(i64 %most, i64 %items)
  %several = icmp ugt i64 %limit, 1
  br i1 %several, label %ask, label %alone
ask:
  %asked = cmpxchg ptr @owner, i64 0, i64 1 acq_rel monotonic
  %got = extractvalue { i64, i1 } %asked, 1
  br i1 %got, label %owned, label %alone
owned:
  %wake = and i64 %flags, 2
  %calm = icmp eq i64 %wake, 0
  br i1 %calm, label %there, label %start
start:
  call void @hire(i64 %limit)
  br label %there
there:
  %started = load i64, ptr getelementptr (i64, ptr @pool_state, i64 1)
  %any = icmp ne i64 %started, 0
  br i1 %any, label %publish, label %leave
publish:
  store ptr %row, ptr @job
  store ptr %context, ptr getelementptr (i64, ptr @job, i64 1)
  store atomic i64 0, ptr @done monotonic, align 8
  %old = load atomic i64, ptr @ticket monotonic, align 8
  %epoch = lshr i64 %old, 43
  %epoch.next = add i64 %epoch, 1
  %high = shl i64 %epoch.next, 43
  %middle = shl i64 %limit, 32
  %upper = or i64 %high, %middle
  %ticket = or i64 %upper, %items
  store atomic i64 %ticket, ptr @ticket seq_cst, align 8
  br i1 %calm, label %help, label %call
call:
  call void @rouse(i64 %limit)
  br label %help
help:
  %did = call i1 @help(i64 0)
  br i1 %did, label %help, label %wait
wait:
  %spins = phi i64 [ 0, %help ], [ %spins.next, %waited ]
  %done = load atomic i64, ptr @done acquire, align 8
  %all = icmp eq i64 %done, %items
  br i1 %all, label %finish, label %waiting
waiting:
  call void @linger(i64 %spins)
  br label %waited
waited:
  %spins.next = add i64 %spins, 1
  br label %wait
finish:
  %regions = load i64, ptr getelementptr (i64, ptr @pool_state, i64 3)
  %regions.next = add i64 %regions, 1
  store i64 %regions.next, ptr getelementptr (i64, ptr @pool_state, i64 3)
  store atomic i64 0, ptr @owner release, align 8
  ret void
leave:
  store atomic i64 0, ptr @owner release, align 8
  br label %alone
alone:
  call void @alone(ptr %row, ptr %context, i64 %items, i64 %flags)
  ret void
}

define internal i1 @help(i64 %slot) {
entry:
  br label %look
look:
  %ticket = load atomic i64, ptr @ticket acquire, align 8
  %left = and i64 %ticket, 4294967295
  %upper = lshr i64 %ticket, 32
  %limit = and i64 %upper, 2047
  %some = icmp ne i64 %left, 0
  %mine = icmp ult i64 %slot, %limit
  %may = and i1 %some, %mine
  br i1 %may, label %claim, label %nothing
claim:
  %left32 = trunc i64 %left to i32
  %limit32 = trunc i64 %limit to i32
  %parts = shl i32 %limit32, 2
  %part = udiv i32 %left32, %parts
  %size32 = call i32 @llvm.umax.i32(i32 %part, i32 1)
  %size = zext i32 %size32 to i64
  %rest = sub i64 %ticket, %size
  %tried = cmpxchg ptr @ticket, i64 %ticket, i64 %rest acq_rel monotonic
  %got = extractvalue { i64, i1 } %tried, 1
  br i1 %got, label %run, label %look
run:
  %row = load ptr, ptr @job
  %context = load ptr, ptr getelementptr (i64, ptr @job, i64 1)
  %at2 = getelementptr i64, ptr %row, i64 2
  %items = load i64, ptr %at2
  %first = sub i64 %items, %left
  %past = add i64 %first, %size
  call void @work(ptr %row, ptr %context, i64 %slot, i64 %first, i64 %past)
  %before = atomicrmw add ptr @done, i64 %size release
  ret i1 true
nothing:
  ret i1 false
}
"""

THREADS = """
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sched_yield()
declare void @llvm.x86.sse2.pause()
declare void @llvm.aarch64.isb(i32)

define internal void @linger(i64 %spins) {
entry:
  $pause
  %turn = and i64 %spins, 63
  %due = icmp eq i64 %turn, 63
  %long = icmp ugt i64 %spins, 2000
  %yields = and i1 %due, %long
  br i1 %yields, label %yield, label %end
yield:
  %ignored = call i32 @sched_yield()
  br label %end
end:
  ret void
}

define internal ptr @worker(ptr %argument) {
entry:
  %slot = ptrtoint ptr %argument to i64
  br label %look
look:
  %spins = phi i64 [ 0, %entry ], [ 0, %busy ], [ %spins.next, %idle ], [ 0, %sleep ]
  %did = call i1 @help(i64 %slot)
  br i1 %did, label %busy, label %wait
busy:
  br label %look
wait:
  %tired = icmp uge i64 %spins, $spins
  br i1 %tired, label %sleep, label %idle
idle:
  call void @linger(i64 %spins)
  %spins.next = add i64 %spins, 1
  br label %look
sleep:
  call void @doze(i64 %slot)
  br label %look
}

define internal i32 @bits(i64 %slot) {
  %few = call i64 @llvm.umin.i64(i64 %slot, i64 31)
  %few32 = trunc i64 %few to i32
  %bit = shl i32 1, %few32
  ret i32 %bit
}

define internal void @doze(i64 %slot) {
entry:
  %seen = load atomic i32, ptr getelementptr (i32, ptr @ticket, i64 1) seq_cst, align 4
  %bit = call i32 @bits(i64 %slot)
  %before = atomicrmw or ptr @asleep, i32 %bit seq_cst
  %did = call i1 @help(i64 %slot)
  br i1 %did, label %end, label %sleep
sleep:
  call void @sleep(i32 %seen, i32 %bit)
  br label %end
end:
  ret void
}

define internal void @rouse(i64 %limit) {
entry:
  %bit = call i32 @bits(i64 %limit)
  %below = sub i32 %bit, 2
  %many = icmp ugt i64 %limit, 31
  %mask = select i1 %many, i32 -1, i32 %below
  %others = xor i32 %mask, -1
  %now = load atomic i32, ptr @asleep seq_cst, align 4
  %there = and i32 %now, %mask
  %some = icmp ne i32 %there, 0
  br i1 %some, label %wake, label %end
wake:
  %before = atomicrmw and ptr @asleep, i32 %others seq_cst
  call void @wake(i32 %mask)
  br label %end
end:
  ret void
}

define internal void @hire(i64 %limit) {
entry:
  %thread = alloca i64
  %all = alloca [16 x i64]
  %before = alloca [16 x i64]
  %had = load i64, ptr getelementptr (i64, ptr @pool_state, i64 1)
  %failed = load i64, ptr getelementptr (i64, ptr @pool_state, i64 2)
  %able = icmp eq i64 %failed, 0
  %first = add i64 %had, 1
  %few = icmp ult i64 %first, %limit
  %more = and i1 %able, %few
  br i1 %more, label %begin, label %end
begin:
  call void @llvm.memset.p0.i64(ptr %all, i8 -1, i64 128, i1 false)
  store i64 $blocked, ptr %all
  %blocked = call i32 @pthread_sigmask(i32 $block, ptr %all, ptr %before)
  br label %create
create:
  %slot = phi i64 [ %first, %begin ], [ %slot.next, %created ]
  %argument = inttoptr i64 %slot to ptr
  %error = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %argument)
  %good = icmp eq i32 %error, 0
  br i1 %good, label %created, label %bad
created:
  %id = load i64, ptr %thread
  %detached = call i32 @pthread_detach(i64 %id)
  store i64 %slot, ptr getelementptr (i64, ptr @pool_state, i64 1)
  %slot.next = add i64 %slot, 1
  %again = icmp ult i64 %slot.next, %limit
  br i1 %again, label %create, label %restore
bad:
  store i64 1, ptr getelementptr (i64, ptr @pool_state, i64 2)
  br label %restore
restore:
  %restored = call i32 @pthread_sigmask(i32 $restore, ptr %before, ptr null)
  br label %end
end:
  ret void
}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define void @pool_reset() {
  store atomic i64 0, ptr @ticket seq_cst, align 8
  store atomic i64 0, ptr @owner seq_cst, align 8
  store atomic i64 0, ptr @asleep seq_cst, align 8
  store i64 0, ptr getelementptr (i64, ptr @pool_state, i64 1)
  store i64 0, ptr getelementptr (i64, ptr @pool_state, i64 2)
  $renew
  ret void
}
"""

# 137 waits for the bits of a mask, in this process; 138 wakes those who wait for some of them.
BY_FUTEX = """
declare i64 @syscall(i64, ...)

define internal void @sleep(i32 %seen, i32 %bit) {
  %word = getelementptr i32, ptr @ticket, i64 1
  %seen64 = zext i32 %seen to i64
  %bit64 = zext i32 %bit to i64
  %a = call i64 (i64, ...) @syscall(i64 $number, ptr %word, i64 137, i64 %seen64, ptr null, ptr null, i64 %bit64)
  ret void
}

define internal void @wake(i32 %mask) {
  %word = getelementptr i32, ptr @ticket, i64 1
  %mask64 = zext i32 %mask to i64
  %a = call i64 (i64, ...) @syscall(i64 $number, ptr %word, i64 138, i64 2147483647, ptr null, ptr null, i64 %mask64)
  ret void
}
"""

CONDITION = """
@mutex = internal global [32 x i64] zeroinitializer, align 128
@condition = internal global [32 x i64] zeroinitializer, align 128
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)

define internal void @renew() {
  %a = call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr @condition, ptr null)
  ret void
}

define internal void @sleep(i32 %seen, i32 %bit) {
entry:
  %locked = call i32 @pthread_mutex_lock(ptr @mutex)
  br label %check
check:
  %now = load atomic i32, ptr getelementptr (i32, ptr @ticket, i64 1) seq_cst, align 4
  %same = icmp eq i32 %now, %seen
  br i1 %same, label %wait, label %end
wait:
  %woken = call i32 @pthread_cond_wait(ptr @condition, ptr @mutex)
  br label %again
again:
  br label %check
end:
  %unlocked = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}

define internal void @wake(i32 %mask) {
  %locked = call i32 @pthread_mutex_lock(ptr @mutex)
  %woken = call i32 @pthread_cond_broadcast(ptr @condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}
"""
