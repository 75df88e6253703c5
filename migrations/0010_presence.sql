-- The state a person chose: online, away, dnd or offline. Never shown; what others see stands in
-- `state`. A gateway writes both.
ALTER TABLE people ADD COLUMN preferred_state TEXT;
