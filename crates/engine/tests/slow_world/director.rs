//! Decides by a seed who goes on, what fails, how time passes, and asks the judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use repo::Repository;
use repo::clock::Clock;
use testkit::world::dice::Dice;
use testkit::world::objects::Objects;
use testkit::world::quiet::Quiet;
use testkit::world::stage::{Call, Stage, Turn, start};

use crate::actors::{Actor, Ledger, Terms, Verb, password};
use crate::bug::{Bug, Buggy, Planted};
use crate::judge::Judge;

/// Hosts; the last one prunes and forgets.
const ACTORS: usize = 5;
/// The host that also works as stock restic does.
const RESTIC: usize = 2;
/// Steps after which something goes round in circles.
const STEPS_MAX: u64 = 20_000;
/// Time passes in pieces, so that renewals are in time.
const PIECE: Duration = Duration::from_secs(240);

/// Actors and judge, opened once: deriving keys costs more than a world.
pub(crate) struct Theatre {
    stage: Arc<Stage>,
    quiet: Quiet,
    planted: Planted,
    actors: Vec<Arc<Actor>>,
    judge: Judge,
    places: Vec<Objects>,
    trace: Vec<String>,
}

/// How rough a world is; 0 stands for never.
#[derive(Clone, Copy, Default)]
struct Weather {
    fault_once_in: u64,
    crash_once_in: u64,
    sleep_once_in: u64,
    stale_once_in: u64,
    wrong_time_once_in: u64,
}

/// One world under way.
struct Play {
    dice: Dice,
    weather: Weather,
    /// Until when an actor's machine sleeps, and whether its own clock stands still meanwhile.
    asleep: Vec<(Duration, bool)>,
    /// Whether an actor has looked at its lease and not yet done what rests on that look.
    relies: Vec<bool>,
}

impl Theatre {
    pub(crate) fn open() -> Self {
        testkit::world::stay_on_one_core();
        let stage = Arc::new(Stage::default());
        stage.free(Some(vec![Objects::default(), Objects::default()]));
        let clock = || Clock::by_hand(Timestamp::try_from(start()).unwrap());
        for place in 0..2 {
            Repository::init(Arc::new(stage.door(None, place)), &password(), "u", "h").unwrap();
        }
        let planted = Planted::default();
        let open = |store: Arc<dyn store::Store>, clock: &Clock| {
            Arc::new(Repository::open(store, &password()).unwrap().with_clock(clock.clone()))
        };
        let actor = |number: usize| {
            let clock = clock();
            let door = stage.door(Some(number), 0);
            let store = Arc::new(Buggy::new(door, &planted, number == ACTORS - 1));
            let repository = open(Arc::clone(&store) as Arc<dyn store::Store>, &clock);
            let other = open(Arc::new(stage.door(Some(number), 1)), &clock);
            Arc::new(Actor { number, store, repository, other, clock, stage: Arc::clone(&stage) })
        };
        let actors = (0..ACTORS).map(actor).collect();
        let judges_clock = clock();
        let judge = Judge {
            repository: open(Arc::new(stage.door(None, 0)), &judges_clock),
            other: open(Arc::new(stage.door(None, 1)), &judges_clock),
            clock: judges_clock,
            stage: Arc::clone(&stage),
        };
        let places = (0..2).map(|place| stage.objects(place, |objects| objects.clone())).collect();
        Self { stage, quiet: Quiet::new(), planted, actors, judge, places, trace: vec![] }
    }

    pub(crate) fn trace(&self) -> &[String] {
        &self.trace
    }

    /// Play the world of a seed; how many backups were acknowledged, or what is wrong.
    pub(crate) fn play(&mut self, seed: u64, bug: Option<Bug>) -> Result<usize, String> {
        let mut dice = Dice::new(seed);
        self.trace.clear();
        *self.planted.lock().unwrap() = bug;
        self.stage.set(ACTORS, self.places.clone(), Duration::from_secs(60));
        let now = Timestamp::try_from(start() + Duration::from_secs(60)).unwrap();
        self.actors.iter().for_each(|actor| actor.clock.set(now));
        let weather = weather(&mut dice);
        let hours = *dice.choose(&[0, 0, 1, 6]);
        // A listing that is behind is no ground for deleting at once.
        let hours = if weather.stale_once_in > 0 { hours.max(1) } else { hours };
        // A lock keeps from harm only who deletes at once: after an hour, restic has ended or given up.
        let (weather, hours) = match bug {
            Some(Bug::LocksIgnored) => (Weather::default(), 0),
            _ => (weather, hours),
        };
        let terms = Terms { cooling_off: SignedDuration::from_hours(hours) };
        let ledger = Arc::new(Ledger::default());
        let ended = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = self
            .actors
            .iter()
            .map(|actor| {
                let (actor, ledger, ended) = (Arc::clone(actor), Arc::clone(&ledger), Arc::clone(&ended));
                let (verbs, dice) = (verbs(actor.number, &mut dice), Dice::new(dice.number()));
                std::thread::spawn(move || {
                    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        actor.live(&verbs, dice, terms, &ledger);
                    }));
                    ended.fetch_add(1, Ordering::SeqCst);
                    lived.is_ok()
                })
            })
            .collect();
        let asleep = vec![(Duration::ZERO, false); ACTORS];
        let mut play = Play { dice, weather, asleep, relies: vec![false; ACTORS] };
        let directed = self.direct(&mut play, &ended);
        self.end(&ended);
        let lived: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap_or(false)).collect();
        self.trace.append(&mut ledger.troubles.lock().unwrap());
        directed?;
        if lived.contains(&false) {
            return Err("an actor panicked".to_owned());
        }
        self.stage.advance(Duration::from_secs(31 * 60));
        self.judge.set_time();
        self.judge.verify_sound(100)?;
        self.judge.verify_kept(&ledger, terms)?;
        self.judge.clear_up(&ledger, terms)?;
        let backups = ledger.backups.lock().unwrap().len();
        Ok(backups)
    }

    /// One call after the other, until nobody acts any more.
    fn direct(&mut self, play: &mut Play, ended: &AtomicUsize) -> Result<(), String> {
        for step in 0..STEPS_MAX {
            self.quiet.wait();
            if ended.load(Ordering::SeqCst) == ACTORS {
                return Ok(());
            }
            let now = self.stage.now();
            let waiting = self.stage.waiting();
            let wakes = |call: &Call| call.not_before.max(play.asleep[call.actor].0);
            let ready: Vec<_> = waiting.iter().filter(|call| wakes(call) <= now).collect();
            if ready.is_empty() {
                let first = waiting.iter().map(wakes).min().ok_or("everybody waits, and for nothing")?;
                self.pass(play, (first - now).min(PIECE));
                continue;
            }
            let call = (*play.dice.choose(&ready)).clone();
            let turn = self.turn(play, &call);
            self.trace
                .push(format!("{step} {:?} {} {} {} {turn:?}", now, call.actor, call.action, call.about));
            let span =
                if play.dice.once_in(40) { PIECE } else { Duration::from_millis(play.dice.below(3000)) };
            self.pass(play, span);
            self.stage.grant(&call, turn);
            if matters(&call) {
                self.quiet.wait();
                self.judge.verify_sound(0).map_err(|what| format!("at step {step}, {call:?}: {what}"))?;
            }
        }
        Err("it does not end".to_owned())
    }

    /// Let everybody who still acts go to the end, whatever becomes of it.
    fn end(&mut self, ended: &AtomicUsize) {
        while ended.load(Ordering::SeqCst) < ACTORS {
            self.quiet.wait();
            for call in self.stage.waiting() {
                self.stage.grant(&call, Turn::Works);
            }
        }
        self.stage.free(None);
    }

    /// Let time pass for the store and for everybody whose clock does not stand still.
    fn pass(&self, play: &Play, span: Duration) {
        let now = self.stage.now();
        self.stage.advance(span);
        for (actor, (until, stands_still)) in self.actors.iter().zip(&play.asleep) {
            if *until <= now || !stands_still {
                actor.clock.advance(span);
            }
        }
    }

    /// What becomes of a call, and what else happens to its actor.
    fn turn(&self, play: &mut Play, call: &Call) -> Turn {
        let Play { dice, weather, asleep, relies } = play;
        let (now, clock) = (self.stage.now(), &self.actors[call.actor].clock);
        match (call.action, call.about.contains("x/lease") || call.about.contains("/locks")) {
            ("get", true) => relies[call.actor] = true,
            // A renewal by another thread does not rest on that look.
            (_, true) => {}
            (_, false) => relies[call.actor] = false,
        }
        if dice.once_in(weather.sleep_once_in) {
            // After this call, so anywhere but between a look at the lease and what rests on that look: there, ten
            // minutes are what is relied on. restic has nothing to look at when its clock stands still.
            let span = Duration::from_secs(*dice.choose(&[900, 2_400, 10_000]));
            // But restic looks at the age of its lock just before it stores an index file, and asks no store for that.
            let is_before_index = call.actor == RESTIC && call.action == "put";
            if !relies[call.actor] && !is_before_index {
                asleep[call.actor] = (now + span, dice.once_in(2) && call.actor != RESTIC);
            }
        }
        if dice.once_in(weather.wrong_time_once_in) {
            let hours = *dice.choose(&[-87_600, -3, 3, 87_600]);
            clock.set(clock.now() + SignedDuration::from_hours(hours));
        }
        if call.action == "sleep" {
            return Turn::Works;
        }
        if dice.once_in(weather.crash_once_in) {
            return *dice.choose(&[Turn::CrashesBefore, Turn::CrashesAfter]);
        }
        if dice.once_in(weather.stale_once_in) && call.action == "list" && call.actor != ACTORS - 1 {
            return Turn::Stale(1 + dice.below(4));
        }
        match dice.once_in(weather.fault_once_in) {
            false => Turn::Works,
            true if call.action == "get" => *dice.choose(&[Turn::FailsBefore, Turn::WrongBytes]),
            true => *dice.choose(&[Turn::FailsBefore, Turn::FailsAfter]),
        }
    }
}

/// After what a mistake would show.
fn matters(call: &Call) -> bool {
    let is = |folder: &str| call.key.starts_with(folder);
    (call.action == "put" && is("snapshots/"))
        || (call.action == "delete" && (is("data/") || is("index/") || is("snapshots/")))
}

fn weather(dice: &mut Dice) -> Weather {
    let mut once_in = |worlds: u64, calls: u64| if dice.once_in(worlds) { calls } else { 0 };
    Weather {
        fault_once_in: once_in(3, 40),
        crash_once_in: once_in(3, 80),
        sleep_once_in: once_in(3, 60),
        stale_once_in: once_in(6, 5),
        wrong_time_once_in: once_in(5, 100),
    }
}

fn verbs(actor: usize, dice: &mut Dice) -> Vec<Verb> {
    let usual: &[Verb] = match actor {
        0 | 1 => &[Verb::BackUp, Verb::BackUp, Verb::BackUp, Verb::Delete],
        RESTIC => &[Verb::BackUpAsResticDoes, Verb::BackUpAsResticDoes, Verb::BackUp, Verb::Prune],
        3 => &[Verb::BackUp, Verb::Delete, Verb::Undelete, Verb::Copy, Verb::Prune],
        _ => &[Verb::Prune, Verb::Prune, Verb::Forget],
    };
    let count = if actor == ACTORS - 1 { 4 } else { 3 };
    // Making a key costs more than everything else in a world.
    let mut verbs: Vec<_> = (0..count).map(|_| *dice.choose(usual)).collect();
    if actor == 3 && dice.once_in(30) {
        verbs.push(Verb::Rotate);
    }
    verbs
}
