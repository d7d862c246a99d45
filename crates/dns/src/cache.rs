//! What other servers answered, for as long as they allow. Pure: time is an argument.
//!
//! Invariant: bounded; an answer is never given for longer than its records live, nor than [`LONGEST`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

/// Answers kept at a time.
const MOST: usize = 8192;
/// For how long an answer is kept at most: the host's servers keep it too.
const LONGEST: Duration = Duration::from_secs(30);

/// What was asked: name in lower case, type, and whether signatures and unchecked data are wanted.
pub(crate) type Key = (String, RecordType, bool, bool);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cache(HashMap<Key, Kept>);

#[derive(Debug)]
struct Kept {
    since: Instant,
    until: Instant,
    answer: Message,
}

impl Cache {
    /// An answer with what is left of its records' lives.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let kept = self.0.get(key).filter(|kept| now < kept.until)?;
        let mut answer = kept.answer.clone();
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals)
        {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    /// Keeps an answer, if it may be kept.
    pub(crate) fn put(&mut self, key: Key, answer: &Message, now: Instant) {
        let Some(life) = life(answer).map(|life| life.min(LONGEST)).filter(|life| !life.is_zero()) else {
            return;
        };
        if self.0.len() >= MOST {
            self.0.retain(|_, kept| now < kept.until);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(key, Kept { since: now, until: now + life, answer: answer.clone() });
    }
}

/// How long an answer holds; `None` for one that says nothing of it.
fn life(answer: &Message) -> Option<Duration> {
    if answer.metadata.truncation
        || !matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
    {
        return None;
    }
    let positive = answer.answers.iter().map(|record| record.ttl).min();
    let negative = answer.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let denied = answer.metadata.response_code == ResponseCode::NXDomain;
    let seconds = match (positive, negative) {
        (Some(positive), Some(negative)) if denied => positive.min(negative),
        (Some(positive), _) if !denied => positive,
        (_, negative) => negative?,
    };
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn answer(code: ResponseCode, ttl: Option<u32>, negative: Option<(u32, u32)>) -> Message {
        let name = || hickory_proto::rr::Name::from_ascii("a.example.").unwrap();
        let mut message = Message::response(1, OpCode::Query);
        message.metadata.response_code = code;
        message
            .answers
            .extend(ttl.map(|ttl| Record::from_rdata(name(), ttl, RData::A(A::new(192, 0, 2, 1)))));
        message.authorities.extend(negative.map(|(ttl, minimum)| {
            let soa = SOA::new(name(), name(), 1, 1, 1, 1, minimum);
            Record::from_rdata(name(), ttl, RData::SOA(soa))
        }));
        message
    }

    #[test]
    fn lives() {
        for (answer, want) in [
            (answer(ResponseCode::NoError, Some(7), None), Some(7)),
            (answer(ResponseCode::NoError, None, None), None),
            (answer(ResponseCode::NoError, None, Some((60, 9))), Some(9)),
            (answer(ResponseCode::NXDomain, None, Some((5, 9))), Some(5)),
            (answer(ResponseCode::NXDomain, Some(3), None), None),
            (answer(ResponseCode::ServFail, Some(3), None), None),
        ] {
            assert_eq!(life(&answer), want.map(Duration::from_secs), "{answer}");
        }
    }

    #[test]
    fn records_age() {
        let (mut cache, begin) = (Cache::default(), Instant::now());
        let key = ("a.example".to_owned(), RecordType::A, false, false);
        cache.put(key.clone(), &answer(ResponseCode::NoError, Some(60), None), begin);
        let ttl = |seconds| cache.get(&key, begin + Duration::from_secs(seconds)).map(|m| m.answers[0].ttl);
        assert_eq!([ttl(0), ttl(10), ttl(29), ttl(30)], [Some(60), Some(50), Some(31), None]);
    }
}
