//! All faults, in the order in which they are staged.

use std::time::Duration;

use super::{
    A_SECOND, AFTER_LEASE, DELAYS, DELIVERS, Fault, IN_FLIGHT, NOTHING, REFUSALS, UNTOLD, USUAL,
    backlog, clocks, daemons, disks, freeze, kills, links, poison, redis, repeats, replies,
};
use crate::chaos::{check::Allowed, generator::Load, proxy::Script, script::Mix, stack::Layout};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(in crate::chaos) const TABLE: &[Fault] = &[
    Fault {
        name: "none",
        about: "no fault: the control",
        quick: true,
        allowed: NOTHING,
        stage: |_| Box::pin(daemons::nothing()),
        ..USUAL
    },
    Fault {
        name: "kill-deliver",
        about: "kill -9 of a deliver, 3 times",
        quick: true,
        allowed: repeats(kills(3), DELAYS),
        within: AFTER_LEASE,
        stage: |scene| Box::pin(daemons::kill(scene, "deliver", 3)),
        ..USUAL
    },
    Fault {
        name: "kill-deliver-20",
        about: "kill -9 of a deliver, 20 times",
        allowed: repeats(kills(20), DELAYS),
        within: AFTER_LEASE,
        stage: |scene| Box::pin(daemons::kill(scene, "deliver", 20)),
        ..USUAL
    },
    Fault {
        name: "kill-ingest",
        about: "kill -9 of ingest under load, 3 times",
        quick: true,
        stage: |scene| Box::pin(daemons::kill(scene, "ingest", 3)),
        ..USUAL
    },
    Fault {
        name: "stop-deliver",
        about: "SIGTERM to each deliver in turn, 4 times",
        quick: true,
        allowed: DELAYS,
        stage: |scene| Box::pin(daemons::stop(scene, 4)),
        ..USUAL
    },
    Fault {
        name: "restart-each",
        about: "supervisorctl restart of nginx, ingest, deliver and redis, 5 times each",
        stage: |scene| {
            Box::pin(daemons::restart(scene, &["nginx", "ingest", "deliver:*", "redis"]))
        },
        ..USUAL
    },
    Fault {
        name: "restart-all",
        about: "supervisorctl restart all, 5 times: Redis goes at once, deliver cannot settle what it has sent",
        allowed: repeats(5 * kills(DELIVERS), REFUSALS),
        within: AFTER_LEASE,
        stage: |scene| Box::pin(daemons::restart(scene, &["all"])),
        ..USUAL
    },
    Fault {
        name: "kill-redis-everysec",
        about: "kill -9 of Redis with appendfsync everysec, 3 times",
        quick: true,
        stage: |scene| Box::pin(daemons::kill(scene, "redis-server", 3)),
        ..USUAL
    },
    Fault {
        name: "kill-redis-always",
        about: "kill -9 of Redis with appendfsync always, 3 times",
        plan: |plan| plan.settings.redis.push("appendfsync always".into()),
        stage: |scene| Box::pin(daemons::kill(scene, "redis-server", 3)),
        ..USUAL
    },
    Fault {
        name: "redis-away",
        about: "Redis stopped for 20 s",
        stage: |scene| Box::pin(redis::away(scene)),
        ..USUAL
    },
    Fault {
        name: "redis-full",
        about: "maxmemory reached: ingest answers 503, and the backlog drains all the same",
        quick: true,
        stage: |scene| Box::pin(redis::full(scene)),
        ..USUAL
    },
    Fault {
        name: "redis-read-only",
        about: "REPLICAOF for 8 s: Redis takes no writes",
        stage: |scene| Box::pin(redis::read_only(scene)),
        ..USUAL
    },
    Fault {
        name: "redis-password",
        about: "Redis asks for a password that nobody has, for 8 s",
        stage: |scene| Box::pin(redis::password(scene)),
        ..USUAL
    },
    Fault {
        name: "freeze-redis",
        about: "SIGSTOP of Redis for 10 s",
        stage: |scene| Box::pin(freeze::redis(scene, seconds(10))),
        ..USUAL
    },
    Fault {
        name: "cut-replies",
        about: "Redis's answers to enqueue, reserve, settle and beat are lost, twice each",
        quick: true,
        plan: |plan| plan.settings.proxied = true,
        stage: |scene| Box::pin(replies::cut(scene, &Script::ALL, 2)),
        ..USUAL
    },
    Fault {
        name: "cut-enqueue",
        about: "Redis's answers to enqueue are lost, 10 times",
        plan: |plan| plan.settings.proxied = true,
        stage: |scene| Box::pin(replies::cut(scene, &[Script::Enqueue], 10)),
        ..USUAL
    },
    Fault {
        name: "cut-reserve",
        about: "Redis's answers to reserve are lost, 10 times",
        plan: |plan| plan.settings.proxied = true,
        stage: |scene| Box::pin(replies::cut(scene, &[Script::Reserve], 10)),
        ..USUAL
    },
    Fault {
        name: "cut-settle",
        about: "Redis's answers to settle are lost, 10 times",
        plan: |plan| plan.settings.proxied = true,
        stage: |scene| Box::pin(replies::cut(scene, &[Script::Settle], 10)),
        ..USUAL
    },
    Fault {
        name: "cut-beat",
        about: "Redis's answers to beat are lost, 5 times",
        plan: |plan| plan.settings.proxied = true,
        stage: |scene| Box::pin(replies::cut(scene, &[Script::Beat], 5)),
        ..USUAL
    },
    Fault {
        name: "freeze-deliver",
        about: "SIGSTOP of a deliver for 37 s, past its lease",
        allowed: repeats(IN_FLIGHT + UNTOLD, DELAYS),
        within: AFTER_LEASE,
        stage: |scene| Box::pin(freeze::deliver(scene, seconds(37))),
        ..USUAL
    },
    Fault {
        name: "freeze-all",
        about: "SIGSTOP of every program for 2 s, 20 times",
        stage: |scene| Box::pin(freeze::all(scene, seconds(2), 20)),
        ..USUAL
    },
    Fault {
        name: "partner-half",
        about: "the partner answers 500 to every second attempt",
        allowed: DELAYS,
        within: seconds(180), // ten failures in a row park a lane for 30 s, now and then
        plan: |plan| {
            plan.script.mix = Mix::HalfFails;
            plan.script.retries_ms = vec![1000; 8];
        },
        stage: |_| Box::pin(daemons::nothing()),
        ..USUAL
    },
    Fault {
        name: "partner-frozen",
        about: "the partner takes connections and says nothing, for 60 s",
        allowed: DELAYS,
        within: seconds(120),
        plan: |plan| {
            plan.script.mix = Mix::Plain;
            plan.script.retries_ms = vec![1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        },
        stage: |scene| Box::pin(freeze::sink(scene, seconds(60))),
        ..USUAL
    },
    Fault {
        name: "poison",
        about: "records that cannot be read, at the heads of busy lanes",
        quick: true,
        allowed: Allowed { strangers: true, ..DELAYS },
        stage: |scene| Box::pin(poison::store(scene)),
        ..USUAL
    },
    Fault {
        name: "redis-loading",
        about: "kill -9 of Redis that has much to load: LOADING for seconds",
        prepare: |stack| Box::pin(disks::fill_redis(stack)),
        plan: |plan| plan.settings.redis.push("auto-aof-rewrite-percentage 0".into()),
        stage: |scene| Box::pin(disks::slow_load(scene)),
        ..USUAL
    },
    Fault {
        name: "aof-disk-full",
        about: "the append-only file's disk is full for 8 s, appendfsync everysec: MISCONF",
        quick: true,
        needs_namespace: true,
        plan: |plan| plan.settings.disks.push((disks::AOF, 32)),
        stage: |scene| Box::pin(disks::full_aof(scene)),
        ..USUAL
    },
    Fault {
        name: "aof-disk-full-always",
        about: "the append-only file's disk is full for 8 s, appendfsync always: Redis exits",
        needs_namespace: true,
        plan: |plan| {
            plan.settings.disks.push((disks::AOF, 32));
            plan.settings.redis.push("appendfsync always".into());
        },
        stage: |scene| Box::pin(disks::full_aof(scene)),
        ..USUAL
    },
    Fault {
        name: "log-disk-full",
        about: "the disk of all logs is full for 8 s, at the most talkative level",
        needs_namespace: true,
        allowed: NOTHING,
        plan: |plan| {
            plan.settings.disks.push((disks::LOGS, 64));
            plan.settings.lines.push("RUST_LOG=trace".into());
        },
        stage: |scene| Box::pin(disks::full_logs(scene)),
        ..USUAL
    },
    Fault {
        name: "few-descriptors",
        about: "deliver may open 128 files, and the partner is slow",
        allowed: Allowed { delays: true, ..NOTHING },
        within: seconds(90),
        plan: |plan| {
            plan.script.mix = Mix::Slow;
            plan.load.rate = 10;
            plan.settings.lines.push("DELIVER_CONCURRENCY=512".into());
            clocks::few_files(&mut plan.settings.before, 128);
        },
        stage: |scene| Box::pin(clocks::descriptors(scene, 128)),
        ..USUAL
    },
    Fault {
        name: "partner-black-hole",
        about: "packets to one of two partners are dropped for 60 s",
        needs_namespace: true,
        allowed: DELAYS,
        within: seconds(120),
        plan: |plan| {
            plan.settings.layout = Layout::Partner;
            plan.script.mix = Mix::Plain;
            plan.script.retries_ms = vec![1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        },
        stage: |scene| Box::pin(links::black_hole(scene, seconds(60))),
        ..USUAL
    },
    Fault {
        name: "link-down",
        about: "the link between one deliver and Redis is down for 30 s",
        needs_namespace: true,
        allowed: repeats(IN_FLIGHT + A_SECOND, DELAYS),
        within: AFTER_LEASE,
        plan: |plan| plan.settings.layout = Layout::Delivers,
        stage: |scene| Box::pin(links::cut(scene, 1, seconds(30))),
        ..USUAL
    },
    Fault {
        name: "links-down",
        about: "the links between all delivers and Redis are down for 60 s",
        needs_namespace: true,
        allowed: DELAYS, // nobody beats, so nobody's lease is taken over
        within: seconds(90),
        plan: |plan| plan.settings.layout = Layout::Delivers,
        stage: |scene| Box::pin(links::cut(scene, 2, seconds(60))),
        ..USUAL
    },
    Fault {
        name: "clock-deliver",
        about: "the clock of one deliver jumps an hour and a day, forward and back",
        allowed: NOTHING,
        plan: |plan| clocks::of_a_deliver(&mut plan.settings.before),
        stage: |scene| Box::pin(clocks::deliver(scene)),
        ..USUAL
    },
    Fault {
        name: "clock-redis",
        about: "Redis's clock jumps an hour back and stays there",
        allowed: Allowed { jumps: true, ..NOTHING },
        plan: |plan| clocks::of_redis(&mut plan.settings.before),
        stage: |scene| Box::pin(clocks::redis(scene)),
        ..USUAL
    },
    Fault {
        name: "backlog",
        about: "a million rows wait for one deliver",
        allowed: DELAYS,
        within: seconds(1800),
        prepare: |stack| Box::pin(backlog::pause(stack)),
        plan: |plan| {
            plan.script.mix = Mix::Bulk;
            plan.load = Load { rate: 1000, most: backlog::REQUESTS };
            plan.settings.delivers = 1;
        },
        stage: |scene| Box::pin(backlog::grow(scene)),
        ..USUAL
    },
];
