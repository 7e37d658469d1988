"""Calls that make what they give, as LLVM IR: builtin functions of Python whose whole work, checks included, is here.

A form is 16 words: 0 the program (`call_ir`), 1 inputs, 2 their specifications, 3 made arrays, 4 their specifications,
5 values, 6 where they are, 7 how they are given, 8 the method of the pullback, 9 its form as an object, 10 what it
calls where it cannot do it itself. The forms are the data of an array, which is the `self` of the functions.

A specification is that of `call_ir`, with two words more: 6 which argument of the program it is, negative where it is
none; 7 of an input its name, of one of a pullback its place in the tuple of what was kept, negative for the cotangent.
A value is 4 words: which of the made arrays, its name, whether nobody may write to it. They are given as a tuple (0),
as the only one (1), or as a dict (2).

`make_of_arrays(*inputs)` and `make_of_call(args, kwargs)` give NotImplemented where anything is not as it was said,
where there is no memory or no free context, and where a row refused to go on. The `self` of `make_of_pull(cotangent)`
is a tuple: its form, what it calls otherwise, the inputs of the call, and what that made.

In: nothing. Out: text. The one rule: whoever leaves early gives back what he holds.
"""

from __future__ import annotations

MAKING = """
define internal ptr @refused() {
  call void @PyErr_Clear()
  %words = getelementptr ptr, ptr @python_words, i64 2
  %no = load ptr, ptr %words
  call void @Py_IncRef(ptr %no)
  ret ptr %no
}

define internal i1 @admit(ptr %form, ptr %objects, ptr %addresses) {
entry:
  %count = call i64 @word(ptr %form, i64 1)
  %specs = call ptr @pointer(ptr %form, i64 2)
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k.next, %good ], [ %k.next, %argument ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %look, label %yes
look:
  %k.next = add i64 %k, 1
  %object = call ptr @pointer(ptr %objects, i64 %k)
  %spec = call ptr @row(ptr %specs, i64 %k, i64 8)
  %data = call ptr @check(ptr %object, ptr %spec)
  %bad = icmp eq ptr %data, null
  br i1 %bad, label %no, label %good
good:
  %number = call i64 @word(ptr %spec, i64 6)
  %unread = icmp slt i64 %number, 0
  br i1 %unread, label %next, label %argument
argument:
  %to = getelementptr ptr, ptr %addresses, i64 %number
  store ptr %data, ptr %to
  br label %next
yes:
  ret i1 true
no:
  ret i1 false
}

define internal i1 @make(ptr %form, ptr %addresses, ptr %made) {
entry:
  %program = call ptr @pointer(ptr %form, i64 0)
  %count = call i64 @word(ptr %form, i64 3)
  %specs = call ptr @pointer(ptr %form, i64 4)
  %context = call ptr @take(ptr %program)
  %none = icmp eq ptr %context, null
  br i1 %none, label %no, label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k.next, %there ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %one, label %run
one:
  %spec = call ptr @row(ptr %specs, i64 %k, i64 8)
  %array = call ptr @array(ptr %spec, ptr null, i32 0)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %undo, label %there
there:
  %keep = getelementptr ptr, ptr %made, i64 %k
  store ptr %array, ptr %keep
  %data = call ptr @pointer(ptr %array, i64 2)
  %number = call i64 @word(ptr %spec, i64 6)
  %to = getelementptr ptr, ptr %addresses, i64 %number
  store ptr %data, ptr %to
  %k.next = add i64 %k, 1
  br label %next
run:
  call void @fill(ptr %program, ptr %context, ptr %addresses)
  %end = call i64 @run(ptr %program, ptr %context)
  %whole = icmp ne i64 %end, 2
  br i1 %whole, label %yes, label %undone
yes:
  ret i1 true
undone:
  call void @drop(ptr %made, i64 %count)
  br label %no
undo:
  store atomic i64 0, ptr %context release, align 8
  call void @drop(ptr %made, i64 %k)
  br label %no
no:
  ret i1 false
}

define ptr @make_of_arrays(ptr %self, ptr %args, i64 %given) {
entry:
  %form = call ptr @data(ptr %self)
  %wanted = call i64 @word(ptr %form, i64 1)
  %all = icmp eq i64 %given, %wanted
  br i1 %all, label %check, label %no
check:
  %places = call i64 @arguments(ptr %form)
  %addresses = alloca ptr, i64 %places
  %makes = call i64 @word(ptr %form, i64 3)
  %made = alloca ptr, i64 %makes
  %good = call i1 @admit(ptr %form, ptr %args, ptr %addresses)
  br i1 %good, label %call, label %no
call:
  %done = call i1 @make(ptr %form, ptr %addresses, ptr %made)
  br i1 %done, label %give, label %no
give:
  %found = call ptr @give(ptr %form, ptr %made)
  call void @drop(ptr %made, i64 %makes)
  ret ptr %found
no:
  %refused = call ptr @refused()
  ret ptr %refused
}

define internal i1 @gather(ptr %form, ptr %tuple, ptr %dict, ptr %objects) {
entry:
  %count = call i64 @word(ptr %form, i64 1)
  %specs = call ptr @pointer(ptr %form, i64 2)
  %first = call i64 @PyTuple_Size(ptr %tuple)
  %second = call i64 @PyDict_Size(ptr %dict)
  %positions = icmp eq i64 %first, %count
  %names = icmp eq i64 %second, %count
  %no.first = icmp eq i64 %first, 0
  %no.second = icmp eq i64 %second, 0
  %by.position = and i1 %positions, %no.second
  %by.name = and i1 %names, %no.first
  %fits = or i1 %by.position, %by.name
  br i1 %fits, label %next, label %no
next:
  %k = phi i64 [ 0, %entry ], [ %k.next, %found ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %one, label %yes
one:
  br i1 %by.position, label %position, label %name
position:
  %there = call ptr @PyTuple_GetItem(ptr %tuple, i64 %k)
  br label %got
name:
  %spec = call ptr @row(ptr %specs, i64 %k, i64 8)
  %key = call ptr @pointer(ptr %spec, i64 7)
  %under = call ptr @PyDict_GetItemWithError(ptr %dict, ptr %key)
  br label %got
got:
  %object = phi ptr [ %there, %position ], [ %under, %name ]
  %none = icmp eq ptr %object, null
  br i1 %none, label %no, label %found
found:
  %to = getelementptr ptr, ptr %objects, i64 %k
  store ptr %object, ptr %to
  %k.next = add i64 %k, 1
  br label %next
yes:
  ret i1 true
no:
  ret i1 false
}

define ptr @make_of_call(ptr %self, ptr %args, i64 %given) {
entry:
  %two = icmp eq i64 %given, 2
  br i1 %two, label %begin, label %no
begin:
  %form = call ptr @data(ptr %self)
  %tuple = call ptr @pointer(ptr %args, i64 0)
  %dict = call ptr @pointer(ptr %args, i64 1)
  %count = call i64 @word(ptr %form, i64 1)
  %objects = alloca ptr, i64 %count
  %places = call i64 @arguments(ptr %form)
  %addresses = alloca ptr, i64 %places
  %makes = call i64 @word(ptr %form, i64 3)
  %made = alloca ptr, i64 %makes
  %there = call i1 @gather(ptr %form, ptr %tuple, ptr %dict, ptr %objects)
  br i1 %there, label %check, label %no
check:
  %good = call i1 @admit(ptr %form, ptr %objects, ptr %addresses)
  br i1 %good, label %call, label %no
call:
  %done = call i1 @make(ptr %form, ptr %addresses, ptr %made)
  br i1 %done, label %give, label %no
give:
  %found = call ptr @give(ptr %form, ptr %made)
  %method = call ptr @pointer(ptr %form, i64 8)
  %alone = icmp eq ptr %method, null
  %failed = icmp eq ptr %found, null
  %end = or i1 %alone, %failed
  br i1 %end, label %leave, label %pull
pull:
  %pair = call ptr @paired(ptr %form, ptr %found, ptr %objects, ptr %made)
  br label %leave
leave:
  %result = phi ptr [ %found, %give ], [ %pair, %pull ]
  call void @drop(ptr %made, i64 %makes)
  ret ptr %result
no:
  %refused = call ptr @refused()
  ret ptr %refused
}

define internal void @copied(ptr %tuple, i64 %first, ptr %objects, i64 %count) {
entry:
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k.next, %one ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %one, label %end
one:
  %object = call ptr @pointer(ptr %objects, i64 %k)
  call void @Py_IncRef(ptr %object)
  %place = add i64 %first, %k
  %ignored = call i32 @PyTuple_SetItem(ptr %tuple, i64 %place, ptr %object)
  %k.next = add i64 %k, 1
  br label %next
end:
  ret void
}

define internal ptr @paired(ptr %form, ptr %value, ptr %objects, ptr %made) {
entry:
  %count = call i64 @word(ptr %form, i64 1)
  %makes = call i64 @word(ptr %form, i64 3)
  %behind = add i64 %count, 2
  %length = add i64 %behind, %makes
  %kept = call ptr @PyTuple_New(i64 %length)
  %no.kept = icmp eq ptr %kept, null
  br i1 %no.kept, label %undo, label %filled
filled:
  %head = getelementptr i64, ptr %form, i64 9
  call void @copied(ptr %kept, i64 0, ptr %head, i64 2)
  call void @copied(ptr %kept, i64 2, ptr %objects, i64 %count)
  call void @copied(ptr %kept, i64 %behind, ptr %made, i64 %makes)
  %method = call ptr @pointer(ptr %form, i64 8)
  %pullback = call ptr @PyCFunction_NewEx(ptr %method, ptr %kept, ptr null)
  call void @Py_DecRef(ptr %kept)
  %no.pullback = icmp eq ptr %pullback, null
  br i1 %no.pullback, label %undo, label %both
both:
  %pair = call ptr @PyTuple_New(i64 2)
  %no.pair = icmp eq ptr %pair, null
  br i1 %no.pair, label %undo.both, label %end
end:
  %one = call i32 @PyTuple_SetItem(ptr %pair, i64 0, ptr %value)
  %two = call i32 @PyTuple_SetItem(ptr %pair, i64 1, ptr %pullback)
  ret ptr %pair
undo.both:
  call void @Py_DecRef(ptr %pullback)
  br label %undo
undo:
  call void @Py_DecRef(ptr %value)
  ret ptr null
}

define ptr @make_of_pull(ptr %kept, ptr %cotangent) {
entry:
  %self = call ptr @PyTuple_GetItem(ptr %kept, i64 0)
  %form = call ptr @data(ptr %self)
  %count = call i64 @word(ptr %form, i64 1)
  %specs = call ptr @pointer(ptr %form, i64 2)
  %never = icmp slt i64 %count, 0
  br i1 %never, label %otherwise, label %begin
begin:
  %objects = alloca ptr, i64 %count
  %places = call i64 @arguments(ptr %form)
  %addresses = alloca ptr, i64 %places
  %makes = call i64 @word(ptr %form, i64 3)
  %made = alloca ptr, i64 %makes
  br label %next
next:
  %k = phi i64 [ 0, %begin ], [ %k.next, %found ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %one, label %check
one:
  %spec = call ptr @row(ptr %specs, i64 %k, i64 8)
  %place = call i64 @word(ptr %spec, i64 7)
  %own = icmp slt i64 %place, 0
  br i1 %own, label %found, label %item
item:
  %there = call ptr @PyTuple_GetItem(ptr %kept, i64 %place)
  br label %found
found:
  %object = phi ptr [ %cotangent, %one ], [ %there, %item ]
  %to = getelementptr ptr, ptr %objects, i64 %k
  store ptr %object, ptr %to
  %k.next = add i64 %k, 1
  br label %next
check:
  %good = call i1 @admit(ptr %form, ptr %objects, ptr %addresses)
  br i1 %good, label %call, label %otherwise
call:
  %done = call i1 @make(ptr %form, ptr %addresses, ptr %made)
  br i1 %done, label %give, label %otherwise
give:
  %gradients = call ptr @give(ptr %form, ptr %made)
  call void @drop(ptr %made, i64 %makes)
  ret ptr %gradients
otherwise:
  call void @PyErr_Clear()
  %slow = call ptr @PyTuple_GetItem(ptr %kept, i64 1)
  %both = alloca ptr, i64 2
  store ptr %kept, ptr %both
  %second = getelementptr ptr, ptr %both, i64 1
  store ptr %cotangent, ptr %second
  %result = call ptr @PyObject_Vectorcall(ptr %slow, ptr %both, i64 2, ptr null)
  ret ptr %result
}
"""
