//! The kinds of rows that represent a record, in one list.
//!
//! A kind is a row of this list, which generates: the tables of the working set and the changes of
//! a batch (`working_set`), the lookup of a record by its AT-URI, what a deleted account deletes
//! (I52), and the statements that read and store the rows (`storage::kinds`). The compiler names
//! what a new kind lacks: a collection without a kind, a row type without a table, a kind without
//! statements or rules.

/// Passes the list to the macro `$then`. First the kinds of records: the table (its name here and
/// in the database), the type of its rows, their collection, and the lookups besides the AT-URI.
/// Then the traces of records without such a row, of any collection.
macro_rules! each_kind {
    ($then:ident) => {
        $then! {
            records {
                /// Communities.
                communities: CommunityRow of Community, grouped by |_| String::new();
                /// Channels, including those of unknown communities.
                channels: ChannelRow of Channel, grouped by |row| row.uri.rkey().to_string();
                /// Categories, likewise.
                categories: CategoryRow of Category, grouped by |_| String::new();
                /// Memberships, likewise.
                memberships: MembershipRow of Membership,
                    grouped by |row| member_group(&row.community_uri, &row.member_did);
                /// Approvals by anybody.
                approvals: ApprovalRow of Approval, grouped by |row| row.membership_uri.to_string();
                /// Admissions by communities of the newest form.
                members: MemberRow of Member,
                    grouped by |row| member_group(&row.community_uri, &row.member_did);
                /// Roles of such communities.
                roles: RoleRow of Role, grouped by |row| row.community_uri.to_string();
                /// Decisions of such communities.
                moderations: ModerationRow of Moderation,
                    grouped by |row| decided_group(&row.community_uri, &row.about, &row.subject);
                /// Messages, visible or not.
                messages: MessageRow of Message, grouped by |row| row.uri.rkey().to_string();
                /// Reactions that count: all to messages that are written or deleted; for other
                /// messages, those of the people who react, and the first with each emoji that is
                /// added.
                reactions: ReactionRow of Reaction, grouped by |row| row.target_uri.to_string();
                /// Actor records of the people concerned.
                actors: ActorRow of ActorData, grouped by |row| row.did.to_string();
                /// Profiles of the newest form, likewise.
                actor_profiles: ActorProfileRow of ActorProfile, grouped by |row| row.did.to_string();
                /// What people muted, likewise.
                mutes: MuteRow of Mute, grouped by |row| row.did.to_string();
                /// Of what people want notifications, likewise.
                preferences: PreferenceRow of Preference, grouped by |row| row.did.to_string();
                /// Read records of the people concerned.
                channel_reads: ChannelReadRow of ChannelRead,
                    grouped by |row| format!("{} {}", row.did, row.channel_uri);
            }
            traces {
                /// Held records (I60).
                held: HeldRow, grouped by |row| row.waits_for.clone();
                /// Decisions without a row.
                settled: SettledRow, grouped by |_| String::new();
            }
        }
    };
}
pub(crate) use each_kind;
