//! What happens by itself, when its time has come.

use super::{
    state::{Due, Vpc},
    time::Time,
};

impl Vpc {
    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: Time) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), due) = entry.remove_entry();
            match due {
                Due::Attachment(step, eni, id) => self.attachment_moves(at, &eni, &id, step),
                Due::Forgotten(instance) => {
                    self.instances.remove(&instance);
                    self.tags.remove(instance.as_str());
                }
            }
        }
    }

    /// When something happens by itself next.
    #[must_use]
    pub fn next_event(&self) -> Option<Time> {
        self.due.keys().next().map(|(at, _)| *at)
    }
}
