"""Rows and regions as LLVM IR: `pool_run` goes over a table, `shared` publishes a row, `help` claims items of it.

In: nothing. Out: text, which is completed by that of the threads (`thread_ir`), or by `NONE` where there are none. The
one rule: a row begins when all items of the row ahead of it are done, and none behind one that refuses.
"""

from __future__ import annotations

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

define i64 @pool_run(ptr %context, i64 %count) {
entry:
  %rows.at = getelementptr i64, ptr %context, i64 1
  %rows = load ptr, ptr %rows.at
  %some = icmp ne i64 %count, 0
  br i1 %some, label %next, label %end
next:
  %r = phi i64 [ 0, %entry ], [ %r.next, %passed ]
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
  %refusing = and i64 %flags, 4
  %passes = icmp eq i64 %refusing, 0
  br i1 %passes, label %passed, label %look
look:
  %at6 = getelementptr i64, ptr %row, i64 6
  %slot = load ptr, ptr %at6
  %told = load ptr, ptr %slot
  %flag = load i8, ptr %told
  %good = icmp eq i8 %flag, 0
  br i1 %good, label %passed, label %refused
passed:
  %r.next = add i64 %r, 1
  %more = icmp ult i64 %r.next, %count
  br i1 %more, label %next, label %end
end:
  ret i64 1
refused:
  ret i64 2
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
