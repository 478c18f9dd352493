//! Who may ask for a page, how often, and how many at once. A pure function of the time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// What one client may ask for at once before its rate counts, in seconds of its rate: scrapers come every
/// some seconds, some of them twice.
const BURST_SECONDS: f64 = 2.0;

/// Clients that are remembered: scrapers are few. With more of them, those that have asked for nothing
/// lately are forgotten, and whoever is new is refused while there are none.
const MOST_CLIENTS: usize = 1024;

/// One client has at most this part of all places, so that those of others stay.
const PART: usize = 4;

/// Clients and what they have left.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Connections of one client at once.
    places: usize,
    /// Requests of one client in a second.
    rate: f64,
    clients: BTreeMap<IpAddr, Client>,
}

#[derive(Debug)]
struct Client {
    open: usize,
    /// Requests that it may make now.
    left: f64,
    at: Instant,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has too many connections.
    Places,
    /// It asks too often.
    Rate,
    /// There are too many clients.
    Clients,
}

impl Allowance {
    /// An allowance of so many connections at once of all, and so many requests a second of each.
    pub(super) fn new(connections: usize, rate: f64) -> Self {
        let places = (connections / PART).max(1);
        Self { places, rate, clients: BTreeMap::new() }
    }

    /// A client connects; once it is gone, [`Self::leave`] is due.
    ///
    /// # Errors
    /// It is over its allowance.
    pub(super) fn admit(&mut self, client: IpAddr, now: Instant) -> Result<(), Refused> {
        let (rate, most) = (self.rate, (self.rate * BURST_SECONDS).max(1.0));
        let refilled =
            |it: &Client| (it.left + rate * seconds(now.duration_since(it.at))).min(most);
        if self.clients.len() >= MOST_CLIENTS && !self.clients.contains_key(&client) {
            self.clients.retain(|_, it| it.open > 0 || refilled(it) < most);
            if self.clients.len() >= MOST_CLIENTS {
                return Err(Refused::Clients);
            }
        }
        let client = self.clients.entry(client).or_insert(Client { open: 0, left: most, at: now });
        client.left = refilled(client);
        client.at = now;
        if client.open >= self.places {
            return Err(Refused::Places);
        }
        if client.left < 1.0 {
            return Err(Refused::Rate);
        }
        client.left -= 1.0;
        client.open += 1;
        Ok(())
    }

    /// A connection of a client that was admitted has ended.
    pub(super) fn leave(&mut self, client: IpAddr) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.open = client.open.saturating_sub(1);
        }
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_part_of_the_places_and_others_have_theirs() {
        let mut allowance = Allowance::new(8, 100.0);
        let now = Instant::now();

        let admitted = [one(), one(), one(), other()].map(|it| allowance.admit(it, now));
        allowance.leave(one());

        assert_eq!(admitted, [Ok(()), Ok(()), Err(Refused::Places), Ok(())]);
        assert_eq!(allowance.admit(one(), now), Ok(()));
    }

    #[test]
    fn a_client_that_asks_too_often_is_refused_until_its_time_has_come() {
        let mut allowance = Allowance::new(8, 2.0);
        let mut asks = |client, after_ms| {
            let now = Instant::now() + Duration::from_millis(after_ms);
            let admitted = allowance.admit(client, now);
            if admitted.is_ok() {
                allowance.leave(client);
            }
            admitted
        };

        let burst = [one(); 5].map(|it| asks(it, 0).is_ok());

        assert_eq!(burst, [true, true, true, true, false]);
        assert_eq!(asks(other(), 0), Ok(()), "another has its own");
        assert_eq!(asks(one(), 400), Err(Refused::Rate));
        assert_eq!(asks(one(), 1100), Ok(()));
        let later = [one(); 5].map(|it| asks(it, 3_600_000).is_ok());
        assert_eq!(later, [true, true, true, true, false], "nothing is saved up");
    }

    #[test]
    fn more_clients_than_are_remembered_take_nothing_from_those_that_are_there() {
        let mut allowance = Allowance::new(8, 1.0);
        let now = Instant::now();
        let client = |number: u32| IpAddr::from(number.to_be_bytes());

        let admitted = (0..5000).filter(|number| allowance.admit(client(*number), now).is_ok());

        assert_eq!(admitted.count(), MOST_CLIENTS);
        assert_eq!(allowance.admit(client(1), now), Ok(()));
        (0..5000).for_each(|number| allowance.leave(client(number)));
        let later = now + Duration::from_secs(60);
        assert_eq!(allowance.admit(client(5000), later), Ok(()), "those who left are forgotten");
    }

    fn one() -> IpAddr {
        [10, 0, 0, 1].into()
    }

    fn other() -> IpAddr {
        [10, 0, 0, 2].into()
    }
}
