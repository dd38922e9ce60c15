//! Status words of volumes, snapshots and attachments, exactly as Cinder spells them.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word as the API and the database spell it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Volume status (Cinder `VolumeStatus`, as far as the bench uses it).
    VolumeStatus {
        /// Row exists, LUN being made.
        Creating = "creating",
        /// Image content is being written.
        Downloading = "downloading",
        /// Ready, not attached.
        Available = "available",
        /// An attachment was reserved.
        Reserved = "reserved",
        /// A connection is being made.
        Attaching = "attaching",
        /// Attached to at least one instance.
        InUse = "in-use",
        /// A detach began.
        Detaching = "detaching",
        /// Growing.
        Extending = "extending",
        /// A delete began.
        Deleting = "deleting",
        /// Creation or re-imaging failed.
        Error = "error",
        /// A delete failed.
        ErrorDeleting = "error_deleting",
        /// An extend failed.
        ErrorExtending = "error_extending",
    }
}

words! {
    /// Aggregate of a volume's attachments.
    AttachStatus {
        /// None.
        Detached = "detached",
        /// Reserved only.
        Reserved = "reserved",
        /// One is being made.
        Attaching = "attaching",
        /// At least one is complete.
        Attached = "attached",
        /// One is being removed.
        Detaching = "detaching",
    }
}

words! {
    /// Attachment row status.
    AttachmentStatus {
        /// No connection yet.
        Reserved = "reserved",
        /// Connection made, not complete.
        Attaching = "attaching",
        /// Complete.
        Attached = "attached",
    }
}

words! {
    /// Snapshot status.
    SnapshotStatus {
        /// Being taken.
        Creating = "creating",
        /// Usable.
        Available = "available",
        /// Being removed.
        Deleting = "deleting",
        /// Taking it failed.
        Error = "error",
        /// Removing it failed.
        ErrorDeleting = "error_deleting",
    }
}
