-- The words of messages, by which R55 finds them. A row has the number (rowid) of its message; what is stored is made from
-- the text by `wire/words.rs` and has only ASCII letters, digits and characters beyond ASCII between blanks, which the
-- tokenizer `ascii` leaves as they are. There is no copy of any text: `content` is empty. Whether a message shows is decided
-- when it is read.
CREATE VIRTUAL TABLE message_words USING fts5(words, content='', contentless_delete=1, tokenize='ascii');

-- However a message goes, its words go with it.
CREATE TRIGGER message_words_go AFTER DELETE ON messages BEGIN
    DELETE FROM message_words WHERE rowid = old.rowid;
END;

-- Up to which message the words of earlier messages were added (`SEARCH`).
CREATE TABLE search_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    filled_to INTEGER NOT NULL
);
INSERT INTO search_state (id, filled_to) VALUES (1, 0);
