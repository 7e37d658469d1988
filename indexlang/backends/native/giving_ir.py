"""What calls make and give, as LLVM IR: words of a form (`making_ir`), arrays of a specification, and values of these.

In: nothing. Out: text. The one rule: whoever is given an array or a value holds it, and nothing else does.
"""

from __future__ import annotations

GIVING = """
define internal i64 @word(ptr %form, i64 %number) {
  %at = getelementptr i64, ptr %form, i64 %number
  %word = load i64, ptr %at
  ret i64 %word
}

define internal ptr @pointer(ptr %form, i64 %number) {
  %at = getelementptr ptr, ptr %form, i64 %number
  %word = load ptr, ptr %at
  ret ptr %word
}

define internal ptr @row(ptr %rows, i64 %number, i64 %words) {
  %first = mul i64 %number, %words
  %at = getelementptr i64, ptr %rows, i64 %first
  ret ptr %at
}

define internal ptr @array(ptr %spec, ptr %data, i32 %flags) {
  %descr = call ptr @pointer(ptr %spec, i64 0)
  %axes = call i64 @word(ptr %spec, i64 1)
  %axes32 = trunc i64 %axes to i32
  %extents = call ptr @pointer(ptr %spec, i64 2)
  %ndarray = load ptr, ptr @python_words
  call void @Py_IncRef(ptr %descr)
  %made = call ptr @PyArray_NewFromDescr(ptr %ndarray, ptr %descr, i32 %axes32, ptr %extents, ptr null, ptr %data,
    i32 %flags, ptr null)
  ret ptr %made
}

define internal void @drop(ptr %made, i64 %count) {
entry:
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k.next, %one ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %one, label %end
one:
  %object = call ptr @pointer(ptr %made, i64 %k)
  call void @Py_DecRef(ptr %object)
  %k.next = add i64 %k, 1
  br label %next
end:
  ret void
}

define internal ptr @value(ptr %form, ptr %made, ptr %row) {
entry:
  %which = call i64 @word(ptr %row, i64 0)
  %array = call ptr @pointer(ptr %made, i64 %which)
  %frozen = call i64 @word(ptr %row, i64 2)
  call void @Py_IncRef(ptr %array)
  %plain = icmp eq i64 %frozen, 0
  br i1 %plain, label %same, label %view
same:
  ret ptr %array
view:
  %specs = call ptr @pointer(ptr %form, i64 4)
  %spec = call ptr @row(ptr %specs, i64 %which, i64 8)
  %data = call ptr @pointer(ptr %array, i64 2)
  %seen = call ptr @array(ptr %spec, ptr %data, i32 257)
  %failed = icmp eq ptr %seen, null
  br i1 %failed, label %without, label %based
without:
  call void @Py_DecRef(ptr %array)
  ret ptr null
based:
  %wrong = call i32 @PyArray_SetBaseObject(ptr %seen, ptr %array)
  %bad = icmp ne i32 %wrong, 0
  br i1 %bad, label %undo, label %end
undo:
  call void @Py_DecRef(ptr %seen)
  ret ptr null
end:
  ret ptr %seen
}

define internal ptr @give(ptr %form, ptr %made) {
entry:
  %count = call i64 @word(ptr %form, i64 5)
  %rows = call ptr @pointer(ptr %form, i64 6)
  %how = call i64 @word(ptr %form, i64 7)
  switch i64 %how, label %tuple [ i64 1, label %single
                                  i64 2, label %dict ]
single:
  %only = call ptr @value(ptr %form, ptr %made, ptr %rows)
  ret ptr %only
tuple:
  %tuple.new = call ptr @PyTuple_New(i64 %count)
  br label %start
dict:
  %dict.new = call ptr @PyDict_New()
  br label %start
start:
  %all = phi ptr [ %tuple.new, %tuple ], [ %dict.new, %dict ]
  %failed = icmp eq ptr %all, null
  br i1 %failed, label %nothing, label %next
next:
  %k = phi i64 [ 0, %start ], [ %k.next, %set ], [ %k.next, %put ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %one, label %end
one:
  %k.next = add i64 %k, 1
  %row = call ptr @row(ptr %rows, i64 %k, i64 4)
  %value = call ptr @value(ptr %form, ptr %made, ptr %row)
  %none = icmp eq ptr %value, null
  br i1 %none, label %undo, label %put.where
put.where:
  %named = icmp eq i64 %how, 2
  br i1 %named, label %put, label %set
set:
  %ignored = call i32 @PyTuple_SetItem(ptr %all, i64 %k, ptr %value)
  br label %next
put:
  %name = call ptr @pointer(ptr %row, i64 1)
  %wrong = call i32 @PyDict_SetItem(ptr %all, ptr %name, ptr %value)
  call void @Py_DecRef(ptr %value)
  %bad = icmp ne i32 %wrong, 0
  br i1 %bad, label %undo, label %next
undo:
  call void @Py_DecRef(ptr %all)
  ret ptr null
nothing:
  ret ptr null
end:
  ret ptr %all
}

define internal ptr @data(ptr %array) {
  %data = call ptr @pointer(ptr %array, i64 2)
  ret ptr %data
}

define internal i64 @arguments(ptr %form) {
  %program = call ptr @pointer(ptr %form, i64 0)
  %count = call i64 @word(ptr %program, i64 3)
  ret i64 %count
}
"""
