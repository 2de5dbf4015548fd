"""What a change means. Pure: no engine, no network, no clock, no model.

The words that the whole tree uses, each for one thing:

event        one message as a broker or a stream delivered it, bytes untouched
change       what an event says of one row: a key, the row after it, and a position; `core.change`
position     where a change stands in its source's log; of two changes of a key the later one has the higher position
truncate     an event that says that a whole table was emptied
document     what a row becomes in a store of vectors: a text, cut into chunks, and metadata
chunk        a piece of a document's text that gets one vector
plan         a document as it should stand in a store at a position; `core.plans`
ledger       what a store keeps of documents beside their chunks: the position that each stands at
outcome      a store's answer to a plan: applied, stale, or rejected for good
unsettled    a change with values that did not travel: they are waited for, found under another key, or asked for
half         one of the two changes that a changed key becomes: the old key's end, the new key's beginning
dead letter  an event that can't be used, with its reason and its original bytes; `core.letters`
record       one row of a system that tells of a person
identifier   what a record's person is known by: a type and a normalized value
link         what makes two records one person's: an identifier that both have, within the limits of the rules
profile      what the linked records of a person say together, merged by rule
delivery     all that one change does to profiles, for a store to take at once
owner        the run that may write to a store, and how what it writes is made
tally        what code counts where no metric group is at hand
"""
