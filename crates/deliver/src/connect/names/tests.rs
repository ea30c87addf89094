use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::task::{JoinSet, LocalSet};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn why(answer: Answer) -> String {
    match answer {
        Err(NoConnection::Failed(Failure::Dns(text))) => text,
        other => panic!("{other:?}"),
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 0))
}

#[tokio::test]
async fn many_who_ask_for_one_name_at_once_make_one_question() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let names = Rc::new(Names::new(|_| {
        ASKED.fetch_add(1, SeqCst);
        Ok(vec![address(1)])
    }));
    let all = async {
        let mut lane = JoinSet::new();
        for _ in 0..64 {
            let names = names.clone();
            lane.spawn_local(async move { names.lookup("a.test", LIMIT).await });
        }
        for answer in lane.join_all().await {
            assert_eq!(*answer.unwrap(), [address(1)]);
        }
    };
    LocalSet::new().run_until(all).await;
    assert_eq!(ASKED.load(SeqCst), 1);
    names.lookup("b.test", LIMIT).await.unwrap();
    assert_eq!(ASKED.load(SeqCst), 2, "another name is another question");
}

#[tokio::test]
async fn an_answer_is_forgotten_after_a_moment() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let names = Names::new(|_| Ok(vec![address(1 + ASKED.fetch_add(1, SeqCst) as u8)]));
    assert_eq!(*names.lookup("a.test", LIMIT).await.unwrap(), [address(1)]);
    assert_eq!(*names.lookup("a.test", LIMIT).await.unwrap(), [address(1)]);
    let old = Question(OnceCell::new_with(Some((
        Instant::now().checked_sub(KEPT).unwrap(),
        Ok([address(1)].into()),
    ))));
    names.questions.borrow_mut().insert("a.test".to_owned(), Rc::new(old));
    assert_eq!(*names.lookup("a.test", LIMIT).await.unwrap(), [address(2)]);
}

#[tokio::test]
async fn a_silent_name_server_costs_its_time_limit_and_no_more() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let names = Names::new(|_| {
        while !OVER.load(SeqCst) {
            std::thread::yield_now();
        }
        Ok(vec![])
    });
    let limit = Duration::from_millis(20);
    assert_eq!(why(names.lookup("a.test", limit).await), "a.test: no answer within 20ms");
    assert_eq!(names.slots.available_permits(), MAX_QUESTIONS - 1, "its thread still counts");
    OVER.store(true, SeqCst);
}

#[tokio::test]
async fn what_went_wrong_is_told_in_few_words() {
    let names = Names::new(|_| {
        let text = "failed to lookup address information: Name or service not known";
        Err(io::Error::other(text))
    });
    let check = async |host: &str, expect: &str| {
        assert_eq!(why(names.lookup(host, LIMIT).await), expect);
    };
    check("a.test", "a.test: name or service not known").await;
    let names = Names::new(|_| Ok(vec![]));
    assert_eq!(why(names.lookup("a.test", LIMIT).await), "a.test has no address");
}

#[tokio::test]
async fn localhost_is_no_question() {
    let names = Names::new(|_| unreachable!("localhost was asked for"));
    for host in ["localhost", "localhost.", "a.localhost"] {
        let found = names.lookup(host, LIMIT).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
    }
}

#[tokio::test]
async fn the_memory_is_bounded() {
    let names = Names::new(|_| Ok(vec![address(1)]));
    for n in 0..MAX_NAMES + 10 {
        names.lookup(&format!("{n}.test"), LIMIT).await.unwrap();
        assert!(names.questions.borrow().len() <= MAX_NAMES);
    }
}

#[tokio::test]
async fn names_whose_servers_are_silent_hold_up_each_other_alone() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let names = Rc::new(Names::new(|host| {
        while host.starts_with("dead") && !OVER.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(vec![address(1)])
    }));
    let dead = async |n: usize, limit: u64| {
        drop(names.lookup(&format!("dead{n}.test"), Duration::from_millis(limit)).await);
    };
    dead(0, 5).await;
    assert!(names.suspects.borrow().contains_key("dead0.test"));
    for n in 1..MAX_QUESTIONS {
        dead(n, 1).await;
    }
    OVER.store(true, SeqCst);
    while names.slots.available_permits() < MAX_QUESTIONS {
        tokio::task::yield_now().await;
    }
    OVER.store(false, SeqCst);
    names.questions.borrow_mut().clear();
    // All of them again, more than there are threads: others are asked for at once.
    let all = async {
        let mut asked = JoinSet::new();
        for n in 0..MAX_QUESTIONS {
            let names = names.clone();
            asked.spawn_local(async move {
                names.lookup(&format!("dead{n}.test"), Duration::from_secs(5)).await
            });
        }
        tokio::task::yield_now().await;
        names.lookup("fine.test", LIMIT).await.unwrap();
        assert_eq!(names.slots.available_permits(), MAX_QUESTIONS);
        OVER.store(true, SeqCst);
        asked.join_all().await;
    };
    LocalSet::new().run_until(all).await;
    assert!(names.suspects.borrow().is_empty(), "they answer again");
}
