//! A book that is kept from the changes alone: what a store has, and what it rebuilds after a restart.

use gratis::ledger::{Balance, Book, Change, Fund, HoldState};

/// The book as the changes tell it. Counters come from entries only; the other values are looked up where a change names them.
pub struct Mirror {
    book: Book,
}

impl Mirror {
    pub fn new(book: Book) -> Self {
        Self { book }
    }

    /// Takes over what changed.
    pub fn follow(&mut self, book: &Book, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Entry(entry) => {
                    let pool = self.book.pools.entry(entry.pool.clone()).or_default();
                    if let Some(grant) = entry.grant {
                        let fund = pool.grants.iter_mut().find(|fund| fund.grant.id == grant).expect("a known grant");
                        let moved =
                            |counter: u64, by: i64| counter.checked_add_signed(by).expect("a counter above zero");
                        fund.balance.granted = moved(fund.balance.granted, entry.granted);
                        fund.balance.held = moved(fund.balance.held, entry.held);
                        fund.balance.spent = moved(fund.balance.spent, entry.spent);
                        fund.balance.presumed = moved(fund.balance.presumed, entry.presumed);
                    } else {
                        pool.billed.input += entry.billed.input;
                        pool.billed.output += entry.billed.output;
                    }
                }
                Change::Hold(id) => {
                    let hold = book.holds.get(id).expect("a change names a hold that is there").clone();
                    if let Some(known) = self.book.holds.get(id) {
                        self.book.due.remove(&(known.deadline, *id));
                    }
                    if hold.state == HoldState::Open {
                        self.book.due.insert((hold.deadline, *id));
                    }
                    self.book.holds.insert(*id, hold);
                }
                Change::HoldForgotten(id) => {
                    self.book.holds.remove(id).expect("only what is there is forgotten");
                }
                Change::Grant(pool, id) => {
                    let grant = book.fund(pool, *id).expect("a change names a grant that is there").grant.clone();
                    let funds = &mut self.book.pools.entry(pool.clone()).or_default().grants;
                    funds.push(Fund { grant, balance: Balance::default() });
                    funds.sort_by_key(|fund| (fund.grant.end.map_or(u64::MAX, |end| end.0), fund.grant.id));
                    self.book.next_grant = self.book.next_grant.max(id.0 + 1);
                }
                Change::Pool(id) => {
                    let told = book.pools.get(id).expect("a change names a pool that is there");
                    let pool = self.book.pools.entry(id.clone()).or_default();
                    (pool.switch, pool.closed, pool.overran) = (told.switch, told.closed, told.overran);
                }
                Change::Account => (self.book.state, self.book.never_pay) = (book.state, book.never_pay),
                Change::Key(id) => {
                    self.book.keys.insert(id.clone(), book.keys.get(id).expect("a known key").clone());
                }
            }
        }
    }

    pub fn compare(&self, book: &Book) -> Result<(), String> {
        if self.book == *book {
            return Ok(());
        }
        for (id, pool) in &book.pools {
            if self.book.pools.get(id) != Some(pool) {
                return Err(format!("the changes tell of {id} {:?}, the book {pool:?}", self.book.pools.get(id)));
            }
        }
        for (id, hold) in &book.holds {
            if self.book.holds.get(id) != Some(hold) {
                return Err(format!("the changes tell of hold {id} {:?}, the book {hold:?}", self.book.holds.get(id)));
            }
        }
        Err("the changes and the book differ in keys, dues, holds that are gone, or the account".to_owned())
    }
}
