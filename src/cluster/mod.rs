//! The cluster: which topics exist, under which ids, with which configs, and who said so.

mod image;
mod solo;

pub use image::{Change, Image, NAME_MAX, PRODUCER_ID_BLOCK, TopicImage};
pub use solo::{FOLDER, Solo, Turn};
