//! What a producer may do when, for both protocols; most of it as Kafka's clients count on it.

use super::*;
use Version::{Classic, EpochBump};

/// A transaction of one partition that is open.
fn open(version: Version) -> (Scene, Producer) {
    let mut stage = Scene::new();
    let producer = stage.init("x");
    let added = stage.add("x", producer, "t", version);
    assert_eq!(stage.answer(added), Some(Ok(producer)));
    (stage, producer)
}

#[test]
fn a_transaction_goes_through_its_states() {
    for (version, commit) in [(Classic, true), (Classic, false), (EpochBump, true), (EpochBump, false)] {
        let (mut stage, (id, epoch)) = open(version);
        assert_eq!(stage.state("x"), State::Ongoing);
        let told = stage.end("x", (id, epoch), commit, version);
        let next = if version == EpochBump { (id, epoch + 1) } else { (id, epoch) };
        assert_eq!(stage.answer(told), Some(Ok(next)));
        assert_eq!(stage.state("x"), if commit { State::PrepareCommit } else { State::PrepareAbort });
        let partitions = [("t".to_owned(), 0)].into();
        let ended = Ended { id: "x".into(), producer: next, commit, partitions };
        assert_eq!(stage.mark(), [ended]);
        assert_eq!(stage.state("x"), if commit { State::CompleteCommit } else { State::CompleteAbort });
        assert_eq!(stage.mark(), [], "an end is told once");
        // and again
        let added = stage.add("x", next, "u", version);
        assert_eq!(stage.answer(added), Some(Ok(next)));
    }
}

#[test]
fn a_new_producer_fences_the_old_one_and_aborts_its_transaction() {
    for version in [Classic, EpochBump] {
        let (mut stage, (id, epoch)) = open(version);
        let second = stage.init_ticket("x", None);
        assert_eq!(stage.answer(second), None, "waits for the abort");
        for commit in [true, false] {
            let told = stage.end("x", (id, epoch), commit, version);
            let answer = stage.answer(told).unwrap();
            assert!(!commit || answer.is_err(), "a commit after it was decided to abort: {answer:?}");
        }
        assert_eq!(stage.mark()[0].producer, (id, epoch + 1), "markers keep the old epoch out");
        assert_eq!(stage.answer(second), Some(Ok((id, epoch + 2))));
        let late = stage.add("x", (id, epoch), "t", version);
        assert_eq!(stage.answer(late), Some(Err(ErrorCode::PRODUCER_FENCED)));
        let late = stage.end("x", (id, epoch), true, version);
        assert_eq!(stage.answer(late), Some(Err(ErrorCode::PRODUCER_FENCED)));
    }
}

#[test]
fn an_old_producer_does_not_abort_the_transaction_of_the_new_one() {
    let mut stage = Scene::new();
    let old = stage.init("x");
    let new = stage.init("x");
    stage.add("x", new, "t", Classic);
    let asked = stage.init_ticket("x", Some(old));
    assert_eq!(stage.answer(asked), Some(Err(ErrorCode::PRODUCER_FENCED)));
    assert_eq!(stage.state("x"), State::Ongoing);
}

#[test]
fn a_producer_that_names_itself_gets_the_next_epoch_once() {
    let mut stage = Scene::new();
    let first = stage.init("x");
    for _ in 0..2 {
        let asked = stage.init_ticket("x", Some(first));
        assert_eq!(stage.answer(asked), Some(Ok((first.0, first.1 + 1))), "a lost answer is given again");
    }
    // in the middle of a transaction, which is aborted
    let (mut stage, producer) = open(Classic);
    let asked = stage.init_ticket("x", Some(producer));
    stage.mark();
    assert_eq!(stage.answer(asked), Some(Ok((producer.0, producer.1 + 1))));
}

#[test]
fn an_end_may_be_asked_for_again_but_not_otherwise() {
    let (mut stage, producer) = open(Classic);
    stage.end("x", producer, true, Classic);
    let ask = |stage: &mut Scene, commit| {
        let again = stage.end("x", producer, commit, Classic);
        stage.answer(again).unwrap()
    };
    assert_eq!(ask(&mut stage, true), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    assert_eq!(ask(&mut stage, false), Err(ErrorCode::INVALID_TXN_STATE));
    stage.mark();
    assert_eq!(ask(&mut stage, true), Ok(producer));
    assert_eq!(ask(&mut stage, false), Err(ErrorCode::INVALID_TXN_STATE));
}

#[test]
fn where_epochs_are_bumped_a_repeated_end_is_known_by_the_old_one() {
    let (mut stage, (id, epoch)) = open(EpochBump);
    stage.end("x", (id, epoch), true, EpochBump);
    let ask = |stage: &mut Scene, epoch, commit| {
        let again = stage.end("x", (id, epoch), commit, EpochBump);
        stage.answer(again).unwrap()
    };
    assert_eq!(ask(&mut stage, epoch, true), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    assert_eq!(ask(&mut stage, epoch, false), Err(ErrorCode::INVALID_TXN_STATE));
    stage.mark();
    assert_eq!(ask(&mut stage, epoch, true), Ok((id, epoch + 1)));
    assert_eq!(ask(&mut stage, epoch, false), Err(ErrorCode::INVALID_TXN_STATE));
    // with the new epoch it is another question: nothing was written since
    assert_eq!(ask(&mut stage, epoch + 1, true), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(ask(&mut stage, epoch + 1, false), Ok((id, epoch + 2)));
    assert_eq!(stage.mark()[0].partitions.len(), 0);
    // an abort that comes when the next transaction has begun
    stage.add("x", (id, epoch + 2), "t", EpochBump);
    assert_eq!(ask(&mut stage, epoch + 1, false), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(stage.state("x"), State::Ongoing);
}

/// The Java client aborts a transaction before anything of it was sent, while the one before may still be
/// ending. It was told its epoch, so it is not fenced: it waits, as a writer then does.
#[test]
fn an_abort_of_nothing_waits_for_the_end_of_the_last() {
    for commit in [true, false] {
        let (mut stage, (id, epoch)) = open(EpochBump);
        stage.end("x", (id, epoch), commit, EpochBump);
        let abort = stage.end("x", (id, epoch + 1), false, EpochBump);
        let mistake = stage.end("x", (id, epoch + 1), true, EpochBump);
        assert_eq!((stage.answer(abort), stage.answer(mistake)), (None, None));
        stage.mark();
        assert_eq!(stage.answer(abort), Some(Ok((id, epoch + 2))));
        stage.mark();
        assert!(stage.answer(mistake).unwrap().is_err(), "a commit of nothing");
    }
}

#[test]
fn the_next_transaction_waits_for_the_end_of_the_last() {
    let (mut stage, producer) = open(Classic);
    stage.end("x", producer, true, Classic);
    let waits = stage.add("x", producer, "u", Classic);
    assert_eq!(stage.answer(waits), None);
    stage.mark();
    assert_eq!(stage.answer(waits), Some(Ok(producer)));
    // but not forever: a disk may have failed
    stage.end("x", producer, true, Classic);
    let waits = stage.add("x", producer, "u", Classic);
    stage.advance(TxnConfig::default().patience_ms);
    assert_eq!(stage.answer(waits), Some(Err(ErrorCode::CONCURRENT_TRANSACTIONS)));
}

#[test]
fn what_takes_too_long_is_aborted_and_its_producer_fenced() {
    for version in [Classic, EpochBump] {
        let (mut stage, (id, epoch)) = open(version);
        stage.advance(Millis::from(TIMEOUT) - 1);
        assert_eq!(stage.state("x"), State::Ongoing);
        stage.advance(1);
        assert_eq!(stage.state("x"), State::PrepareAbort);
        let late = stage.end("x", (id, epoch), true, version);
        assert!(stage.answer(late).unwrap().is_err());
        assert_eq!(stage.mark()[0].producer, (id, epoch + 1));
        let late = stage.end("x", (id, epoch), true, version);
        assert!(stage.answer(late).unwrap().is_err());
    }
}

#[test]
fn used_up_epochs_make_way_for_a_new_producer_id() {
    // by InitProducerId
    let mut stage = Scene::new();
    let first = stage.init("x");
    let mut last = first;
    while last.0 == first.0 {
        last = stage.init("x");
        assert!(last.1 < i16::MAX, "one epoch is left to fence the last producer with");
    }
    assert_eq!(last, (first.0 + 1, 0));
    // by ends that bump the epoch, and the retry of the one that did it
    let (mut stage, before, told) = used_up();
    let ended = stage.mark();
    assert_eq!(ended[0].producer, (before.0, before.1 + 1), "the marker is of the old producer id");
    assert_eq!((before.1, told), (i16::MAX - 1, (before.0 + 1, 0)));
    let again = stage.end("x", before, true, EpochBump);
    assert_eq!(stage.answer(again), Some(Ok(told)));
}

/// A producer whose last epoch an end has used up, and what that end told it; it is not complete yet.
fn used_up() -> (Scene, Producer, Producer) {
    let mut stage = Scene::new();
    let mut producer = stage.init("x");
    loop {
        stage.add("x", producer, "t", EpochBump);
        let end = stage.end("x", producer, true, EpochBump);
        let told = stage.answer(end).unwrap().unwrap();
        if told.0 != producer.0 {
            return (stage, producer, told);
        }
        stage.mark();
        producer = told;
    }
}

/// As in Kafka: it was refused once, as if nobody had told it that id.
#[test]
fn a_new_producer_id_is_used_before_the_end_that_brings_it_is_complete() {
    let (mut stage, _, told) = used_up();
    let early = stage.add("x", told, "t", EpochBump);
    let guess = stage.add("x", (told.0, 1), "t", EpochBump);
    assert_eq!(stage.answer(early), None, "it waits");
    assert_eq!(stage.answer(guess), Some(Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)));
    stage.mark();
    assert_eq!(stage.answer(early), Some(Ok(told)));
}

#[test]
fn strangers_are_turned_away() {
    let (mut stage, (id, epoch)) = open(Classic);
    let cases = [
        ("y", (id, epoch), ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        ("x", (id + 1, epoch), ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        ("x", (id, epoch + 1), ErrorCode::PRODUCER_FENCED),
        ("x", (id, epoch - 1), ErrorCode::PRODUCER_FENCED),
    ];
    for (name, producer, code) in cases {
        let added = stage.add(name, producer, "t", Classic);
        assert_eq!(stage.answer(added), Some(Err(code)));
        let ended = stage.end(name, producer, true, Classic);
        assert_eq!(stage.answer(ended), Some(Err(code)));
    }
    let init = |timeout_ms, id: &str| Input::Init { id: id.into(), timeout_ms, expected: None, fresh: None };
    for (timeout_ms, id, code) in [
        (0, "x", ErrorCode::INVALID_TRANSACTION_TIMEOUT),
        (900_001, "x", ErrorCode::INVALID_TRANSACTION_TIMEOUT),
        (1, "", ErrorCode::INVALID_REQUEST),
    ] {
        let asked = stage.ask(init(timeout_ms, id));
        assert_eq!(stage.answer(asked), Some(Err(code)));
    }
}

#[test]
fn only_partitions_of_the_open_transaction_are_verified() {
    let (mut stage, producer) = open(Classic);
    let verify = |stage: &mut Scene, topic: &str| {
        let partition = (topic.to_owned(), 0);
        let asked = stage.ask(Input::Verify { id: "x".into(), producer, partition });
        stage.answer(asked).unwrap()
    };
    assert_eq!(verify(&mut stage, "t"), Ok(producer));
    assert_eq!(verify(&mut stage, "u"), Err(ErrorCode::TRANSACTION_ABORTABLE));
    stage.end("x", producer, true, Classic);
    assert_eq!(verify(&mut stage, "t"), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    stage.mark();
    assert_eq!(verify(&mut stage, "t"), Err(ErrorCode::TRANSACTION_ABORTABLE));
}

#[test]
fn an_id_that_is_not_used_is_forgotten() {
    let mut stage = Scene::new();
    stage.init("x");
    let (mut open, _) = open(Classic);
    let week = TxnConfig::default().id_expiration_ms;
    stage.advance(week - 1);
    assert!(stage.machine.durable().contains_key("x"));
    stage.advance(1);
    assert!(!stage.machine.durable().contains_key("x"));
    open.advance(2 * week);
    assert_eq!(open.state("x"), State::PrepareAbort, "its markers are not written");
}

#[test]
fn ends_that_were_decided_before_a_crash_are_told_after_it() {
    let (mut stage, producer) = open(EpochBump);
    stage.end("x", producer, true, EpochBump);
    let ended = stage.ended();
    assert_eq!(ended.len(), 1);
    stage.crash();
    assert_eq!(stage.mark(), ended);
    stage.crash();
    assert_eq!(stage.mark(), []);
    assert_eq!(stage.state("x"), State::CompleteCommit);
}

#[test]
fn transactions_are_listed_and_described() {
    let (mut stage, (id, epoch)) = open(Classic);
    stage.init("y");
    let list = |stage: &mut Scene, filters: ListTransactionsRequest| {
        let pattern = filters.transactional_id_pattern.as_deref().filter(|text| !text.is_empty());
        let pattern = pattern.map(|text| crate::machine::Pattern::new(text).unwrap());
        let ticket = stage.ask(Input::List { filters, pattern });
        let Some(Reply::List(listed)) = stage.answers.get(&ticket) else { panic!() };
        listed.iter().map(|t| t.transactional_id.clone()).collect::<Vec<_>>().join(" ")
    };
    let all = ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    assert_eq!(list(&mut stage, all.clone()), "x y");
    let ongoing = ListTransactionsRequest { state_filters: vec!["Ongoing".into()], ..all.clone() };
    assert_eq!(list(&mut stage, ongoing), "x");
    let of_id = ListTransactionsRequest { producer_id_filters: vec![id], ..all.clone() };
    assert_eq!(list(&mut stage, of_id), "x");
    let like = |p: &str| ListTransactionsRequest { transactional_id_pattern: Some(p.into()), ..all.clone() };
    assert_eq!(list(&mut stage, like("[yz]")), "y");
    assert_eq!(list(&mut stage, like("")), "x y");
    stage.advance(1_000);
    let long = |duration_filter| ListTransactionsRequest { duration_filter, ..all.clone() };
    assert_eq!(list(&mut stage, long(999)), "x");
    assert_eq!(list(&mut stage, long(1_000)), "");

    let ticket = stage.ask(Input::Describe { id: "x".into() });
    let Some(Reply::Described(described)) = stage.answers.get(&ticket) else { panic!() };
    assert_eq!(described.transaction_state, "Ongoing");
    assert_eq!((described.producer_id, described.producer_epoch), (id, epoch));
    assert_eq!(described.transaction_start_time_ms, START);
    assert_eq!(described.topics[0].partitions, [0]);
    let ticket = stage.ask(Input::Describe { id: "z".into() });
    let Some(Reply::Described(described)) = stage.answers.get(&ticket) else { panic!() };
    assert_eq!(described.error_code, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
}
