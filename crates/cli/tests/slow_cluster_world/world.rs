//! One world: rounds of events, and after each a restore.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::sshd::Sshd;
use testkit::world::dice::Dice;

use crate::backups::{self, Kind};
use crate::history::{History, Point};
use crate::judge;
use crate::pair::{Archiving, Death, Pages, Pair, Return, shelf_of};
use crate::receiver::Receiver;
use crate::scenario::Scenario;
use crate::second::Second;
use crate::server::Place;
use crate::target::{self, Wanted};
use crate::told::Told;
use crate::{expiry, ledger, load};

/// Events of a round.
const EVENTS: usize = 3;
/// Bytes of a segment.
const SEGMENT: u64 = 1 << 20;

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Increment,
    Full,
    Stream,
    OfStandby,
    KilledBackup,
    CrashInBackup,
    Crash,
    StandbyCrash,
    Switchover,
    Failover,
    FailoverInBackup,
    KilledArchiving,
    Expiry,
    Consolidation,
}

const DECK: [Event; 15] = [
    Event::Increment,
    Event::Increment,
    Event::Full,
    Event::Stream,
    Event::OfStandby,
    Event::KilledBackup,
    Event::CrashInBackup,
    Event::Crash,
    Event::StandbyCrash,
    Event::Switchover,
    Event::Failover,
    Event::FailoverInBackup,
    Event::KilledArchiving,
    Event::Expiry,
    Event::Consolidation,
];

pub(crate) struct World<'a> {
    place: &'a Place,
    /// Behind which the repository is.
    store: Option<&'a Sshd>,
    dice: Dice,
    pair: Pair<'a>,
    second: Option<Second>,
    receiver: Option<Receiver>,
    history: History,
    deck: Vec<Event>,
    /// Whether the next restore goes over what the last one left.
    is_over: bool,
    /// Backups that ended well although something was in their way.
    suspects: Vec<String>,
    told: Told,
}

impl<'a> World<'a> {
    pub(crate) fn open(
        place: &'a Place,
        store: Option<&'a Sshd>,
        scenario: Scenario,
        (seed, dice): (u64, Dice),
    ) -> Self {
        let told = Told::begin(seed, place.major());
        eprintln!("seed {seed}: PostgreSQL {}, {scenario:?}", place.major());
        let Scenario { archiving, pages, .. } = scenario;
        let pair = match scenario.has_shelf {
            true => Pair::with_shelf(place, archiving, pages),
            false => Pair::start(place, archiving, pages),
        };
        let second = scenario.has_second.then(|| Second::make(place));
        let receives = archiving != Archiving::Push;
        let receiver = receives.then(|| Receiver::start(place, pair.primary()));
        let mut history = History::default();
        history.timeline = 1;
        let mut world = Self {
            place,
            store,
            dice,
            pair,
            second,
            receiver,
            history,
            deck: vec![],
            is_over: false,
            suspects: vec![],
            told,
        };
        ledger::create(world.pair.primary());
        if world.receiver.is_some() {
            // Else the slot may begin behind the backup.
            world.pair.primary().wait_for("SELECT count(*) = 1 FROM pg_replication_slots WHERE active");
        }
        world.book();
        world.happen(Event::Full);
        world
    }

    /// Play so many rounds; what came of it, in words.
    pub(crate) fn play(mut self, rounds: u64) -> String {
        for round in 1..=rounds {
            self.told.rounds = round;
            for _ in 0..EVENTS {
                let event = self.draw();
                self.say(&format!("round {round}: {event:?}"));
                self.happen(event);
            }
            self.restore(round);
        }
        self.end();
        self.told.text(&self.history)
    }

    fn say(&self, words: &str) {
        eprintln!("seed {} {:>6.1?}: {words}", self.told.seed, self.told.begin.elapsed());
    }

    /// The next event; each comes before one comes again.
    fn draw(&mut self) -> Event {
        if self.deck.is_empty() {
            self.deck = DECK.to_vec();
            for at in (1..self.deck.len()).rev() {
                self.deck.swap(at, self.dice.below(at as u64 + 1) as usize);
            }
        }
        self.deck.pop().unwrap()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Increment => self.back_up(Kind::LOCAL),
            Event::Full => self.back_up(Kind::FULL),
            Event::Stream => self.back_up(Kind::STREAM),
            Event::OfStandby => {
                let kind = Kind::of_standby(&mut self.dice);
                self.back_up(kind);
            }
            Event::KilledBackup => self.kill_backup(),
            Event::CrashInBackup => self.crash_in_backup(),
            Event::Crash => self.crash(),
            Event::StandbyCrash => {
                let death = self.death();
                self.pair.kill(false, death);
                self.work();
                self.pair.revive(false);
            }
            Event::Switchover => {
                self.pair.retire();
                self.promote();
                self.pair.follow();
            }
            Event::Failover => {
                self.die_at_work();
                self.promote();
                self.bring_back();
            }
            Event::FailoverInBackup => self.fail_over_in_backup(),
            Event::KilledArchiving => self.kill_archiving(),
            Event::Expiry => {
                self.work();
                expiry::expire(self.place, &mut self.history, &mut self.dice);
            }
            Event::Consolidation => expiry::consolidate(self.place, &mut self.history),
        }
    }

    fn death(&mut self) -> Death {
        *self.dice.choose(&[Death::Immediate, Death::Killed])
    }

    /// One more row.
    fn book(&mut self) -> Point {
        let nonce = self.dice.number();
        let point = ledger::book(self.pair.primary(), nonce, None);
        let point = point.unwrap_or_else(|| panic!("the primary does not work:\n{}", self.log()));
        self.history.points.push(point.clone());
        point
    }

    fn log(&self) -> String {
        let received = self.receiver.as_ref().map(Receiver::log_text).unwrap_or_default();
        format!("{}\n{received}", self.pair.primary().log_text())
    }

    /// The primary works for a while.
    fn work(&mut self) {
        let length = Duration::from_millis(200 + self.dice.below(400));
        let busy = load::beside(self.pair.primary(), &mut self.dice, || std::thread::sleep(length));
        self.history.points.extend(busy.0);
    }

    fn back_up(&mut self, kind: Kind) {
        let second = self.second.as_ref().filter(|_| self.dice.once_in(2));
        let more = second.map(|second| second.beside_the_first(self.place));
        let take = || {
            backups::take_with(self.place, &self.pair, kind, more.as_ref().map_or(&[][..], |more| &more[..]))
        };
        let (points, id) = load::beside(self.pair.primary(), &mut self.dice, take);
        self.history.points.extend(points);
        self.say(&format!("{id} of {kind:?}"));
        backups::list(self.place, &mut self.history, &[id]);
    }

    /// What became of a backup that was disturbed.
    fn found(&mut self, id: Option<String>, kind: Kind) {
        self.say(&format!("{id:?} of {kind:?}"));
        *(if id.is_some() { &mut self.told.survived } else { &mut self.told.failed }) += 1;
        let acknowledged: Vec<_> = id.into_iter().collect();
        let before: Vec<_> = self.history.listed().into_iter().map(str::to_owned).collect();
        backups::list(self.place, &mut self.history, &[&before[..], &acknowledged].concat());
        // Also what was visible before anybody was told.
        let new = self.history.listed().into_iter().filter(|id| !before.iter().any(|known| known == id));
        self.suspects.extend(new.map(str::to_owned).collect::<Vec<_>>());
    }

    fn kill_backup(&mut self) {
        let (kind, moment) = (Kind::any(&mut self.dice), backups::moment(&mut self.dice));
        let store = self.store.filter(|_| self.dice.once_in(2));
        let killed = || {
            let child = backups::begin(self.place, &self.pair, kind);
            std::thread::sleep(moment);
            match store {
                Some(store) => store.cut_connections(),
                None => backups::kill(&child),
            }
            backups::end(child, store.is_none())
        };
        let (points, id) = load::beside(self.pair.primary(), &mut self.dice, killed);
        self.history.points.extend(points);
        self.found(id, kind);
    }

    /// The server that is backed up dies meanwhile.
    fn crash_in_backup(&mut self) {
        let (kind, moment) = (Kind::any(&mut self.dice), backups::moment(&mut self.dice));
        let death = self.death();
        let disturbed = || {
            let child = backups::begin(self.place, &self.pair, kind);
            std::thread::sleep(moment);
            self.pair.strike(kind.of_primary, death);
            backups::end(child, false)
        };
        let (points, id) = load::beside(self.pair.primary(), &mut self.dice, disturbed);
        self.history.points.extend(points);
        self.pair.kill(kind.of_primary, death);
        self.pair.revive(kind.of_primary);
        self.found(id, kind);
        self.assert_nothing_lost();
    }

    /// The primary dies in the middle of its work.
    fn die_at_work(&mut self) {
        let (death, moment) = (self.death(), Duration::from_millis(200 + self.dice.below(400)));
        let struck = || {
            std::thread::sleep(moment);
            self.pair.strike(true, death);
        };
        let (points, ()) = load::beside(self.pair.primary(), &mut self.dice, struck);
        self.history.points.extend(points);
        self.pair.kill(true, death);
    }

    /// The primary dies and comes back as what it was.
    fn crash(&mut self) {
        self.die_at_work();
        self.pair.revive(true);
        self.assert_nothing_lost();
    }

    /// What was acknowledged before a crash is there: else the test itself would be wrong.
    fn assert_nothing_lost(&self) {
        let last = ledger::last(self.pair.primary());
        let known = self.history.points.last().map_or(0, |point| point.number);
        assert!(last.number >= known, "{last:?} {known}");
    }

    fn promote(&mut self) {
        let (timeline, end, next) = self.pair.promote();
        self.history.fork(timeline, end, next);
        self.assert_nothing_lost();
        if self.receiver.take().is_some() {
            self.receiver = Some(Receiver::start(self.place, self.pair.primary()));
        }
        self.book();
    }

    fn bring_back(&mut self) {
        let how = match self.pair.pages {
            Pages::Plain => Return::Restored,
            _ if self.dice.once_in(3) => Return::Restored,
            _ => Return::Rewound,
        };
        self.say(&format!("{how:?}"));
        self.pair.bring_back(how);
    }

    /// The primary dies and the standby is promoted while that is backed up.
    fn fail_over_in_backup(&mut self) {
        let kind = Kind { of_primary: false, ..Kind::any(&mut self.dice) };
        let (death, moment) = (self.death(), backups::moment(&mut self.dice));
        let begun = || {
            let child = backups::begin(self.place, &self.pair, kind);
            std::thread::sleep(moment);
            self.pair.strike(true, death);
            child
        };
        let (points, child) = load::beside(self.pair.primary(), &mut self.dice, begun);
        self.history.points.extend(points);
        self.pair.kill(true, death);
        self.promote();
        let id = backups::end(child, false);
        self.found(id, kind);
        self.bring_back();
    }

    /// Whoever archives is killed, again and again.
    fn kill_archiving(&mut self) {
        let pauses = [self.dice.below(300), self.dice.below(300), self.dice.below(300)];
        let (place, pair, store, receiver) = (self.place, &self.pair, self.store, &mut self.receiver);
        let killed = || {
            for pause in pauses.map(Duration::from_millis) {
                std::thread::sleep(pause);
                pair.kill_archiving();
                store.iter().for_each(|store| store.cut_connections());
                if receiver.take().is_some() {
                    std::thread::sleep(pause);
                    *receiver = Some(Receiver::start(place, pair.primary()));
                }
            }
        };
        let (points, ()) = load::beside(pair.primary(), &mut self.dice, killed);
        self.history.points.extend(points);
    }

    /// Everything up to now is archived; the last row, and whether a segment is there.
    fn archive(&mut self) -> Point {
        let point = self.book();
        self.pair.primary().psql("SELECT pg_switch_wal()");
        let begin = Instant::now();
        while !is_archived(self.place, &self.pair.system, point.timeline, point.lsn) {
            let has_ended = self.receiver.as_mut().is_some_and(Receiver::has_ended);
            let is_late = begin.elapsed() > Duration::from_secs(60);
            assert!(!has_ended && !is_late, "{point:?} is not archived:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        point
    }

    fn restore(&mut self, round: u64) {
        let last = self.archive();
        for wanted in self.wanted(&last, round) {
            let wanted = self.perhaps_elsewhere(wanted);
            self.say(&format!("restore {}", wanted.arguments.join(" ")));
            // One that was disturbed is to come back whole.
            if wanted.point.is_some() && self.dice.once_in(5) {
                self.told.tables += 1;
                let verdict = judge::restore_table(self.place, self.pair.primary(), &wanted);
                self.told.count(verdict);
                continue;
            }
            let is_over = std::mem::replace(&mut self.is_over, self.dice.once_in(3));
            let name = format!("copy-{}", self.told.copies);
            let verdict = judge::restore(self.place, &name, &wanted, is_over, &self.pair);
            self.told.count(verdict);
            if !self.is_over {
                std::fs::remove_dir_all(shelf_of(self.place, &name)).ok();
                std::fs::remove_dir_all(self.place.path().join(name)).ok();
                self.told.copies += 1;
            }
        }
    }

    /// The same restore, now and then from the second repository.
    fn perhaps_elsewhere(&mut self, wanted: Wanted) -> Wanted {
        match &mut self.second {
            Some(second) if wanted.point.is_some() && self.dice.once_in(3) => {
                self.told.elsewhere += 1;
                second.instead(self.place, wanted, &mut self.dice)
            }
            _ => wanted,
        }
    }

    /// Where this round's restores go.
    fn wanted(&mut self, last: &Point, round: u64) -> Vec<Wanted> {
        let is_there = |id: &String| self.history.backups[id].is_listed;
        let suspects: Vec<_> = std::mem::take(&mut self.suspects).into_iter().filter(is_there).collect();
        let mut wanted: Vec<_> = suspects.iter().map(|id| target::immediate(id)).collect();
        let (place, system) = (self.place, self.pair.system.clone());
        let archived = |timeline: u32, lsn: u64| is_archived(place, &system, timeline, lsn);
        wanted.push(target::any(&self.history, &mut self.dice, &archived));
        if round.is_multiple_of(3) {
            wanted.push(target::latest(last));
        }
        if round.is_multiple_of(4) {
            let listed = self.history.listed();
            let id: &&str = self.dice.choose(&listed);
            wanted.push(target::immediate(id));
        }
        wanted
    }

    /// Nothing is damaged, and there is no gap that alarms.
    fn end(&mut self) {
        self.archive();
        self.place.assert_sound();
        self.second.iter().for_each(|second| second.assert_sound(self.place));
        self.place.mainstay(&["wal", "status"]).ok();
    }
}

/// Whether the segment behind which a position lies is in the repository.
fn is_archived(place: &Place, system: &str, timeline: u32, lsn: u64) -> bool {
    let segment = (lsn - 1) / SEGMENT;
    let name = format!("{timeline:08X}{:08X}{:08X}", segment / 0x1000, segment % 0x1000);
    let folder = format!("wal/{system}/{timeline:08X}");
    Path::new(&place.repository()).join(folder).join(name).exists()
}
