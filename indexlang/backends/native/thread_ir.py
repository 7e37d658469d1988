"""The threads of the pool as LLVM IR: they look for work for a while, then sleep until they are woken.

A thread that is about to sleep sets its bit in `asleep`, and looks again; the caller publishes its region, and then
looks at the bits. So one of both sees the other. Threads from slot 31 on share a bit.

In: nothing. Out: templates: `THREADS`, and how they sleep, `BY_FUTEX` or `CONDITION`. The one rule: a thread holds
nothing while it looks or sleeps, so that the process may end, or be forked, at any moment.
"""

from __future__ import annotations

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
