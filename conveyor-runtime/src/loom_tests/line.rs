//! The line of those who wait for room: whoever leaves it, from wherever in it, lets the others
//! move up.

use super::*;
use crate::line::Line;

/// Waits to be the first, and leaves.
fn wait_and_leave(line: &Arc<Line>, entered: &Arc<Event>) -> thread::JoinHandle<()> {
    let (line, entered) = (Arc::clone(line), Arc::clone(entered));
    spawn(async move {
        let place = line.enter();
        entered.notify(usize::MAX);
        place.first().await;
    })
}

#[test]
fn everybody_in_the_line_has_a_turn() {
    check(|| {
        let (line, entered) = (Arc::new(Line::default()), Arc::new(Event::new()));
        let first = line.enter();
        let others = [wait_and_leave(&line, &entered), wait_and_leave(&line, &entered)];
        drop(first);
        join(others);
        assert!(line.is_empty());
    });
}

#[test]
fn who_gives_up_while_its_turn_comes_passes_it_on() {
    check(|| {
        let (line, entered) = (Arc::new(Line::default()), Arc::new(Event::new()));
        let first = line.enter();
        let gives_up = {
            let (line, entered) = (Arc::clone(&line), entered.listen());
            spawn(async move {
                let place = line.enter();
                // Until another is behind it, or its turn comes.
                futures::future::select(entered, Box::pin(place.first())).await;
            })
        };
        let last = wait_and_leave(&line, &entered);
        drop(first);
        gives_up.join().unwrap();
        last.join().unwrap();
        assert!(line.is_empty());
    });
}
