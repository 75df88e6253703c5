//! Recent answers of other services, and requests in progress: equal requests share one answer.
//!
//! There is one of these per kind of request, in the memory of an isolate. A request must not wait
//! for another request's promise (platform facts 5.5), so it polls until the answer is there or its
//! time is up.

use std::collections::BTreeMap;

use crate::wire::time::Micros;

/// The most cached answers, and the most requests in progress: some hundred bytes each.
const MAX: usize = 2_000;

/// See the module.
#[derive(Debug)]
pub struct Answers<T> {
    said: BTreeMap<String, (T, Micros)>,
    asked: BTreeMap<String, Micros>,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// Nothing: this is the cached answer.
    Said(T),
    /// Another request is in progress: poll again soon.
    Asked,
    /// Send the request, and report its answer.
    Ask,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Answers<T> {
    /// Empty.
    pub const fn new() -> Self {
        Self { said: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// Caches the answer until then. Over the limit, the entry that would expire first is dropped.
    pub fn say(&mut self, question: &str, answer: T, until: Micros, now: Micros) {
        self.asked.remove(question);
        if self.said.len() >= MAX && !self.said.contains_key(question) {
            self.said.retain(|_, (_, until)| *until > now);
        }
        if self.said.len() >= MAX && !self.said.contains_key(question) {
            let mut ends: Vec<Micros> = self.said.values().map(|(_, until)| *until).collect();
            ends.sort_unstable();
            let early = ends.get(MAX / 4).copied().unwrap_or(now);
            self.said.retain(|_, (_, until)| *until > early);
        }
        if self.said.len() < MAX {
            self.said.insert(question.to_owned(), (answer, until));
        }
    }

    /// Reports that there is no answer to cache; the next request may try.
    pub fn give_up(&mut self, question: &str) {
        self.asked.remove(question);
    }

    /// Drops a cached answer.
    pub fn forget(&mut self, question: &str) {
        self.said.remove(question);
    }
}

impl<T: Clone> Answers<T> {
    /// The cached answer, if there is one.
    pub fn said(&self, question: &str, now: Micros) -> Option<T> {
        let (answer, until) = self.said.get(question)?;
        (*until > now).then(|| answer.clone())
    }

    /// What to do about a request at `now`. A request that is sent has this much time, in
    /// microseconds; after that another one may be sent, because the first may have ended.
    pub fn look(&mut self, question: &str, within: i64, now: Micros) -> Look<T> {
        if let Some(answer) = self.said(question, now) {
            return Look::Said(answer);
        }
        if self.asked.get(question).is_some_and(|until| *until > now) {
            return Look::Asked;
        }
        if self.asked.len() >= MAX {
            self.asked.retain(|_, until| *until > now);
        }
        // With too many in progress, this one is not shared.
        if self.asked.len() < MAX {
            self.asked.insert(question.to_owned(), Micros(now.0.saturating_add(within)));
        }
        Look::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k14_equal_questions_share_one_answer() {
        let mut answers = Answers::new();
        let look = |answers: &mut Answers<u8>, at| answers.look("a", 10, Micros(at));
        assert_eq!(look(&mut answers, 0), Look::Ask);
        assert_eq!(look(&mut answers, 9), Look::Asked, "somebody asks");
        assert_eq!(look(&mut answers, 10), Look::Ask, "and is gone");
        assert_eq!(answers.look("b", 10, Micros(10)), Look::Ask, "another question");
        answers.say("a", 7, Micros(20), Micros(11));
        assert_eq!(look(&mut answers, 19), Look::Said(7));
        assert_eq!(look(&mut answers, 20), Look::Ask, "forgotten after a while");
        answers.give_up("a");
        assert_eq!(look(&mut answers, 21), Look::Ask, "no answer");
        answers.say("a", 8, Micros(40), Micros(22));
        answers.forget("a");
        assert_eq!(look(&mut answers, 23), Look::Ask, "forgotten");
    }

    #[test]
    fn k14_what_is_remembered_is_bounded() {
        let mut answers = Answers::new();
        answers.say("keep", 0, Micros(1_000_000), Micros(0));
        for n in 0..4 * MAX {
            let at = i64::try_from(n).unwrap();
            let name = n.to_string();
            answers.look(&name, 1_000_000, Micros(at));
            answers.say(&name, 0, Micros(at + 50_000), Micros(at));
            answers.look(&format!("asked {n}"), 1_000_000, Micros(at));
            assert!(answers.said.len() <= MAX && answers.asked.len() <= MAX);
        }
        assert_eq!(answers.said("keep", Micros(9_000)), Some(0), "what lasts longest stays");
    }
}
