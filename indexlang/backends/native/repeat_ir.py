"""Calls of programs one after the other as LLVM IR.

An event is 4 words: the program, 0 for a copy; where in the table its arguments begin; how many there are; the bytes of
a copy of the second argument over the first. An entry of the table is 2 words: which base, how many bytes from there.
Of the state, the first word is the event to begin with, and where it stopped; behind the second there is room for the
addresses of one event.

In: nothing. Out: text. The one rule: an event that finds no free context has done nothing, and is tried again.
"""

from __future__ import annotations

REPEAT = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define i64 @repeat_events(ptr %rows, ptr %table, ptr %bases, ptr %state, i64 %count) {
entry:
  %addresses = getelementptr i64, ptr %state, i64 2
  %first = load i64, ptr %state
  br label %look
look:
  %e = phi i64 [ %first, %entry ], [ %e.next, %done ]
  %more = icmp ult i64 %e, %count
  br i1 %more, label %event, label %end
event:
  %words = mul i64 %e, 4
  %row = getelementptr i64, ptr %rows, i64 %words
  %program.word = load i64, ptr %row
  %from.at = getelementptr i64, ptr %row, i64 1
  %from = load i64, ptr %from.at
  %args.at = getelementptr i64, ptr %row, i64 2
  %args = load i64, ptr %args.at
  br label %argument
argument:
  %k = phi i64 [ 0, %event ], [ %k.next, %place ]
  %left = icmp ult i64 %k, %args
  br i1 %left, label %place, label %call
place:
  %number = add i64 %from, %k
  %twice = mul i64 %number, 2
  %entry.at = getelementptr i64, ptr %table, i64 %twice
  %base = load i64, ptr %entry.at
  %bytes.at = getelementptr i64, ptr %entry.at, i64 1
  %bytes = load i64, ptr %bytes.at
  %base.at = getelementptr i64, ptr %bases, i64 %base
  %begin = load i64, ptr %base.at
  %address = add i64 %begin, %bytes
  %to = getelementptr i64, ptr %addresses, i64 %k
  store i64 %address, ptr %to
  %k.next = add i64 %k, 1
  br label %argument
call:
  %is.copy = icmp eq i64 %program.word, 0
  br i1 %is.copy, label %copy, label %run
copy:
  %target = load ptr, ptr %addresses
  %source.at = getelementptr i64, ptr %addresses, i64 1
  %source = load ptr, ptr %source.at
  %size.at = getelementptr i64, ptr %row, i64 3
  %size = load i64, ptr %size.at
  call void @llvm.memcpy.p0.p0.i64(ptr %target, ptr %source, i64 %size, i1 false)
  br label %done
run:
  %program = inttoptr i64 %program.word to ptr
  %result = call i64 @call_addresses(ptr %program, ptr %addresses)
  %good = icmp eq i64 %result, 1
  br i1 %good, label %done, label %stop
done:
  %e.next = add i64 %e, 1
  br label %look
stop:
  store i64 %e, ptr %state
  ret i64 %result
end:
  ret i64 1
}
"""
