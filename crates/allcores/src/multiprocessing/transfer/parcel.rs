//! What goes along with a message and wants to know what became of it.

/// Something that goes along with a message and wants to know what became of it.
pub trait Parcel {
    /// The message is on its way: the kernel has it, or the child process has read it.
    fn delivered(self: Box<Self>);
    /// The message was not sent, or its receiver is known to have died before it read it.
    fn lost(self: Box<Self>);
    /// What undoes it as [`Parcel::lost`] would, in memory that the receiver shares. Not part of the API.
    #[doc(hidden)]
    fn pin(&self) -> Option<[u8; 8]> {
        None
    }
}

/// All parcels of one message. Dropped without a word, they are lost.
#[derive(Default)]
pub(crate) struct Parcels(pub(super) Vec<Box<dyn Parcel + Send>>);

impl Parcels {
    pub(crate) fn delivered(mut self) {
        self.0.drain(..).for_each(Parcel::delivered);
    }

    /// What undoes them.
    pub(crate) fn pins(&self) -> Vec<[u8; 8]> {
        self.0.iter().filter_map(|parcel| parcel.pin()).collect()
    }
}

impl Drop for Parcels {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Parcel::lost);
    }
}
