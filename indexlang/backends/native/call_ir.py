"""Calls of a program of steps as LLVM IR: with addresses, and as a builtin function of Python with NumPy arrays.

A program is 16 words: 0 rows, 1 patches, 2 where they are, 3 arguments, 4 their specifications, 5 the first context,
6 whether Python's lock is released meanwhile, 7 bytes of a slot. A patch is 3 words: which pointer of a context gets
the address of which argument, plus so many bytes. A context (`pool_ir`) is taken by whoever finds it free, and linked
to the next one.

A specification is 8 words: descr, axes, where their extents are, flags that there must be, bytes, whether it is
written. What is no plain C-contiguous array of that dtype and shape, what is written and overlaps another argument, and
a call for which there is no free context: the builtin function returns NotImplemented, and has done nothing. Where a
row refused to go on it returns True.

Words of objects are those of CPython's default layout on 64 bits: type 1, and of a PyArrayObject data 2, nd 3 (half),
dimensions 4, descr 7, flags 8 (half). `python_words`, the addresses of ndarray, None, NotImplemented, True and
Python's functions, are declared by `words`.

In: nothing. Out: text. The one rule: nothing is written before everything was checked.
"""

from __future__ import annotations

CALL = """
define internal ptr @take(ptr %program) {
entry:
  %own.at = getelementptr i64, ptr %program, i64 7
  %own = load i64, ptr %own.at
  %free = icmp eq i64 %own, 0
  %threads = load atomic i64, ptr @pool_state monotonic, align 8
  %wanted = select i1 %free, i64 0, i64 %threads
  br label %look
look:
  %last = phi i64 [ 5, %entry ], [ 6, %next ]
  %at = phi ptr [ %program, %entry ], [ %context, %next ]
  %link = getelementptr i64, ptr %at, i64 %last
  %word = load atomic i64, ptr %link acquire, align 8
  %context = inttoptr i64 %word to ptr
  %none = icmp eq ptr %context, null
  br i1 %none, label %end, label %try
try:
  %slots.at = getelementptr i64, ptr %context, i64 5
  %slots = load i64, ptr %slots.at
  %small = icmp ult i64 %slots, %wanted
  br i1 %small, label %next, label %claim
claim:
  %tried = cmpxchg ptr %context, i64 0, i64 1 acq_rel monotonic
  %got = extractvalue { i64, i1 } %tried, 1
  br i1 %got, label %end, label %next
next:
  br label %look
end:
  %found = phi ptr [ null, %look ], [ %context, %claim ]
  ret ptr %found
}

define internal void @fill(ptr %program, ptr %context, ptr %addresses) {
entry:
  %count.at = getelementptr i64, ptr %program, i64 1
  %count = load i64, ptr %count.at
  %patches.at = getelementptr i64, ptr %program, i64 2
  %patches = load ptr, ptr %patches.at
  %pointers.at = getelementptr i64, ptr %context, i64 2
  %pointers = load ptr, ptr %pointers.at
  %some = icmp ne i64 %count, 0
  br i1 %some, label %patch, label %end
patch:
  %k = phi i64 [ 0, %entry ], [ %k.next, %patch ]
  %first = mul i64 %k, 3
  %which = getelementptr i64, ptr %patches, i64 %first
  %pointer = load i64, ptr %which
  %argument.at = getelementptr i64, ptr %which, i64 1
  %argument = load i64, ptr %argument.at
  %offset.at = getelementptr i64, ptr %which, i64 2
  %offset = load i64, ptr %offset.at
  %from = getelementptr ptr, ptr %addresses, i64 %argument
  %address = load ptr, ptr %from
  %value = getelementptr i8, ptr %address, i64 %offset
  %to = getelementptr ptr, ptr %pointers, i64 %pointer
  store ptr %value, ptr %to
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, %count
  br i1 %more, label %patch, label %end
end:
  ret void
}

define i64 @call_addresses(ptr %program, ptr %addresses) {
entry:
  %context = call ptr @take(ptr %program)
  %none = icmp eq ptr %context, null
  br i1 %none, label %busy, label %run
run:
  call void @fill(ptr %program, ptr %context, ptr %addresses)
  %rows = load i64, ptr %program
  %end = call i64 @pool_run(ptr %context, i64 %rows)
  store atomic i64 0, ptr %context release, align 8
  ret i64 %end
busy:
  ret i64 0
}
"""

BUILTIN = """
define ptr @call_arrays(ptr %self, ptr %args, i64 %given) {
entry:
  %program.at = getelementptr i64, ptr %self, i64 2
  %program = load ptr, ptr %program.at
  %count.at = getelementptr i64, ptr %program, i64 3
  %count = load i64, ptr %count.at
  %specs.at = getelementptr i64, ptr %program, i64 4
  %specs = load ptr, ptr %specs.at
  %every = icmp eq i64 %given, %count
  br i1 %every, label %begin, label %refuse
begin:
  %addresses = alloca ptr, i64 %count
  %some = icmp ne i64 %count, 0
  br i1 %some, label %argument, label %checked
argument:
  %k = phi i64 [ 0, %begin ], [ %k.next, %good ]
  %arg.at = getelementptr ptr, ptr %args, i64 %k
  %arg = load ptr, ptr %arg.at
  %words = mul i64 %k, 8
  %spec = getelementptr i64, ptr %specs, i64 %words
  %data = call ptr @check(ptr %arg, ptr %spec)
  %bad = icmp eq ptr %data, null
  br i1 %bad, label %refuse, label %good
good:
  %to = getelementptr ptr, ptr %addresses, i64 %k
  store ptr %data, ptr %to
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, %count
  br i1 %more, label %argument, label %overlaps
overlaps:
  %apart = call i1 @apart(ptr %addresses, ptr %specs, i64 %count)
  br i1 %apart, label %checked, label %refuse
checked:
  %context = call ptr @take(ptr %program)
  %none = icmp eq ptr %context, null
  br i1 %none, label %refuse, label %taken
taken:
  call void @fill(ptr %program, ptr %context, ptr %addresses)
  %end = call i64 @run(ptr %program, ptr %context)
  %refused = icmp eq i64 %end, 2
  %all = load ptr, ptr getelementptr (ptr, ptr @python_words, i64 1)
  %true = load ptr, ptr getelementptr (ptr, ptr @python_words, i64 3)
  %found = select i1 %refused, ptr %true, ptr %all
  call void @Py_IncRef(ptr %found)
  ret ptr %found
refuse:
  %no = load ptr, ptr getelementptr (ptr, ptr @python_words, i64 2)
  call void @Py_IncRef(ptr %no)
  ret ptr %no
}

define internal i64 @run(ptr %program, ptr %context) {
entry:
  %rows = load i64, ptr %program
  %release.at = getelementptr i64, ptr %program, i64 6
  %release = load i64, ptr %release.at
  %short = icmp eq i64 %release, 0
  br i1 %short, label %held, label %released
held:
  %end.held = call i64 @pool_run(ptr %context, i64 %rows)
  store atomic i64 0, ptr %context release, align 8
  ret i64 %end.held
released:
  %thread = call ptr @PyEval_SaveThread()
  %end = call i64 @pool_run(ptr %context, i64 %rows)
  store atomic i64 0, ptr %context release, align 8
  call void @PyEval_RestoreThread(ptr %thread)
  ret i64 %end
}

define internal ptr @check(ptr %array, ptr %spec) {
entry:
  %type.at = getelementptr ptr, ptr %array, i64 1
  %type = load ptr, ptr %type.at
  %ndarray = load ptr, ptr @python_words
  %plain = icmp eq ptr %type, %ndarray
  br i1 %plain, label %array.object, label %no
array.object:
  %descr.at = getelementptr ptr, ptr %array, i64 7
  %descr = load ptr, ptr %descr.at
  %descr.want = load ptr, ptr %spec
  %alike = icmp eq ptr %descr, %descr.want
  %axes.at = getelementptr i32, ptr %array, i64 6
  %axes32 = load i32, ptr %axes.at
  %axes = sext i32 %axes32 to i64
  %axes.want.at = getelementptr i64, ptr %spec, i64 1
  %axes.want = load i64, ptr %axes.want.at
  %many = icmp eq i64 %axes, %axes.want
  %flags.at = getelementptr i32, ptr %array, i64 16
  %flags32 = load i32, ptr %flags.at
  %flags = zext i32 %flags32 to i64
  %flags.want.at = getelementptr i64, ptr %spec, i64 3
  %flags.want = load i64, ptr %flags.want.at
  %common = and i64 %flags, %flags.want
  %fit = icmp eq i64 %common, %flags.want
  %two = and i1 %alike, %many
  %three = and i1 %two, %fit
  br i1 %three, label %shape, label %no
shape:
  %extents.at = getelementptr ptr, ptr %array, i64 4
  %extents = load ptr, ptr %extents.at
  %extents.want.at = getelementptr ptr, ptr %spec, i64 2
  %extents.want = load ptr, ptr %extents.want.at
  br label %axis
axis:
  %k = phi i64 [ 0, %shape ], [ %k.next, %extent ]
  %more = icmp ult i64 %k, %axes
  br i1 %more, label %extent, label %yes
extent:
  %have.at = getelementptr i64, ptr %extents, i64 %k
  %have = load i64, ptr %have.at
  %want.at = getelementptr i64, ptr %extents.want, i64 %k
  %want = load i64, ptr %want.at
  %k.next = add i64 %k, 1
  %equal = icmp eq i64 %have, %want
  br i1 %equal, label %axis, label %no
yes:
  %data.at = getelementptr ptr, ptr %array, i64 2
  %data = load ptr, ptr %data.at
  ret ptr %data
no:
  ret ptr null
}

define internal i1 @apart(ptr %addresses, ptr %specs, i64 %count) {
entry:
  br label %written
written:
  %k = phi i64 [ 0, %entry ], [ %k.next, %skip ]
  %words = mul i64 %k, 8
  %spec = getelementptr i64, ptr %specs, i64 %words
  %output.at = getelementptr i64, ptr %spec, i64 5
  %output = load i64, ptr %output.at
  %is = icmp ne i64 %output, 0
  br i1 %is, label %range, label %skip
range:
  %begin.at = getelementptr i64, ptr %addresses, i64 %k
  %begin = load i64, ptr %begin.at
  %bytes.at = getelementptr i64, ptr %spec, i64 4
  %bytes = load i64, ptr %bytes.at
  %end = add i64 %begin, %bytes
  br label %other
other:
  %j = phi i64 [ 0, %range ], [ %j.next, %ok ]
  %more = icmp ult i64 %j, %count
  br i1 %more, label %compare, label %skip
compare:
  %words.j = mul i64 %j, 8
  %spec.j = getelementptr i64, ptr %specs, i64 %words.j
  %begin.j.at = getelementptr i64, ptr %addresses, i64 %j
  %begin.j = load i64, ptr %begin.j.at
  %bytes.j.at = getelementptr i64, ptr %spec.j, i64 4
  %bytes.j = load i64, ptr %bytes.j.at
  %end.j = add i64 %begin.j, %bytes.j
  %same = icmp eq i64 %j, %k
  %before = icmp ule i64 %end, %begin.j
  %after = icmp ule i64 %end.j, %begin
  %outside = or i1 %before, %after
  %fine = or i1 %outside, %same
  %j.next = add i64 %j, 1
  br i1 %fine, label %ok, label %overlap
ok:
  br label %other
skip:
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, %count
  br i1 %again, label %written, label %apart
apart:
  ret i1 true
overlap:
  ret i1 false
}
"""
