//! The macros, and the list of the cases: a table of what is promised.

/// Makes a test of each case that a [`Store`](conveyor_core::Store) must pass.
///
/// The argument is a function that makes a
/// [`StoreHarness`](crate::store_suite::StoreHarness); each test gets one of its own.
///
/// ```
/// # mod hidden { // `cargo test` would find the tests of this example
/// use std::sync::Arc;
/// use std::time::Duration;
/// use conveyor_core::runtime::BoxFuture;
/// use conveyor_core::store::Durability;
/// use conveyor_core::{MemoryStore, Store};
/// use conveyor_testkit::store_suite;
/// use conveyor_testkit::store_suite::{ManualClock, StoreHarness, StoreOptions};
///
/// #[derive(Default)]
/// struct InMemory {
///     clock: Arc<ManualClock>,
/// }
///
/// impl StoreHarness for InMemory {
///     fn open(&self, options: StoreOptions) -> Option<Arc<dyn Store>> {
///         let store = MemoryStore::new(self.clock.clone());
///         (options == StoreOptions::default()).then(|| Arc::new(store) as Arc<dyn Store>)
///     }
///
///     fn block_on(&self, call: BoxFuture<'_, ()>) {
///         futures::executor::block_on(call);
///     }
///
///     fn tick(&self) -> Duration {
///         Duration::from_secs(60)
///     }
///
///     fn advance(&self, by: Duration) {
///         self.clock.advance(by);
///     }
///
///     fn durability(&self) -> Durability {
///         Durability::Memory
///     }
///
///     fn cannot(&self) -> &[(&str, &str)] {
///         &[("enqueue::a_full_store_gives_the_task_back_until_there_is_room", "it has no bound")]
///     }
/// }
///
/// store_suite!(InMemory::default);
/// # }
/// ```
#[macro_export]
macro_rules! store_suite {
    ($harness:expr) => {
        fn harness_of_the_suite() -> ::std::sync::Arc<dyn $crate::store_suite::StoreHarness> {
            let make = $harness;
            ::std::sync::Arc::new(make())
        }

        #[test]
        fn what_it_cannot_do_is_listed_by_name_and_reason() {
            $crate::store_suite::check_list(&*harness_of_the_suite());
        }

        $crate::__store_cases!(__store_tests);
    };
}

/// Every case, by what it is about.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_cases {
    ($with:ident) => {
        $crate::$with! {
            enqueue: [
                an_accepted_task_is_there_as_it_was_given
                a_task_that_says_nothing_of_timeout_and_retries_has_none_of_the_stores
                a_known_id_is_accepted_again_and_nothing_happens
                an_id_that_is_in_a_batch_twice_is_one_task
                a_batch_is_answered_in_order_each_element_for_itself
                an_empty_batch_is_answered_with_nothing
                a_batch_may_be_large
                an_instant_that_has_passed_is_due_at_once
                a_full_store_gives_the_task_back_until_there_is_room
                what_is_known_or_refused_anyway_needs_no_room
                a_batch_fills_a_bounded_store_in_its_order
            ]
            claim: [
                kinds_that_are_not_named_are_left_alone_whatever_their_place
                many_tasks_of_an_unknown_kind_hide_nobody
                queues_are_taken_from_as_if_they_were_one
                who_names_no_queue_or_no_kind_gets_nothing
                nothing_below_the_least_priority_is_taken
                no_more_is_taken_than_there_is_room_for
                no_more_of_a_kind_is_taken_than_it_has_room_for
                a_kind_without_room_leaves_the_room_to_others
                each_claim_of_a_task_has_the_next_epoch
                a_claimed_task_is_nobody_elses
                a_task_that_one_process_claimed_is_held_in_anothers_eyes_too
                a_request_that_is_sent_again_is_answered_with_the_same_claims
                a_request_that_is_sent_again_gets_only_what_is_held_still
                a_request_is_known_also_after_many_others
                a_token_is_a_number_of_its_own_process
                a_new_process_is_no_old_one_that_had_its_token
            ]
            order: [
                claims_go_by_priority_then_due_time_then_age
                the_age_is_the_order_of_acceptance_not_of_ids
                kinds_and_queues_do_not_change_the_order
                a_hand_back_keeps_its_place
                a_retry_and_a_snooze_go_by_their_new_due_time
                one_claim_in_sixteen_takes_the_oldest
                the_share_is_kept_when_several_processes_claim
                any_task_starts_within_sixteen_claims_for_each_older_one
                the_oldest_is_the_oldest_that_is_asked_for
                a_reserved_consumer_takes_no_part_in_ageing
                a_task_that_is_handed_back_is_as_old_as_before
                each_queue_has_its_share_however_the_requests_alternate
            ]
            key: [
                a_duplicate_is_refused_and_names_the_holder
                a_key_belongs_to_its_kind_and_no_key_to_nobody
                keys_that_look_alike_are_not_the_same
                a_key_is_held_through_delay_and_claim
                a_key_is_held_through_every_verdict_that_is_no_end
                a_key_is_held_through_crashes_until_the_last
                a_key_is_held_through_anothers_crash_and_an_interruption
                a_key_is_free_when_a_verdict_ends_the_task
                a_key_is_free_when_a_request_ends_the_task
                a_key_of_a_running_task_is_held_until_its_cancelled_attempt_returns
                the_end_and_the_release_are_one_step_with_the_children
                a_key_is_one_for_all_processes
            ]
            settle: [
                each_verdict_does_what_it_says
                why_it_failed_or_is_parked_is_kept
                each_verdict_is_counted_as_what_it_was
                a_settle_that_is_sent_again_is_answered_already_and_changes_nothing
                a_settle_is_a_repeat_also_after_the_task_moved_on
                a_batch_is_settled_in_order_each_element_for_itself
                a_batch_of_settles_may_be_large
                a_settle_is_good_after_the_lease_ran_out_while_nobody_took_the_task
                an_interrupted_attempt_that_returns_after_all_is_settled
                a_parked_task_is_not_given_out_and_is_seen
                children_come_with_the_settle_but_those_whose_key_is_taken
                a_child_that_is_known_is_not_made_again
                the_bound_of_a_store_does_not_apply_to_children
            ]
            fence: [
                a_settle_whose_fence_is_not_current_changes_nothing
                a_settle_of_a_task_that_was_never_claimed_changes_nothing
                a_settle_after_the_next_claim_changes_nothing
                a_settle_after_a_rescue_changes_nothing
                a_settle_of_a_task_that_crashed_changes_nothing
                a_renewal_whose_fence_is_not_current_changes_nothing
                a_renewal_after_the_settle_is_lost
                a_renewal_after_a_rescue_or_another_claim_is_lost
            ]
            renew: [
                a_renewal_holds_the_lease_for_another_term
                a_renewal_is_good_also_after_the_lease_ran_out
                an_interrupted_lease_is_not_renewed_and_runs_out
                renewals_are_answered_in_order_and_tell_of_a_cancel
                many_leases_are_renewed_at_once
            ]
            rescue: [
                nothing_is_taken_back_before_its_lease_ran_out
                a_process_leaves_its_own_leases_alone_but_the_interrupted
                an_interrupted_task_is_free_and_claimable_with_others
                a_task_that_dies_alone_is_charged_until_the_budget_ends_it
                tasks_that_die_together_become_suspects_at_no_cost
                tasks_of_two_dead_processes_are_not_each_others_company
                two_leases_of_a_dead_process_that_end_at_different_times_are_suspects_both
                a_task_beside_an_interrupted_one_did_not_die_alone
                a_process_that_lost_a_lease_and_lived_on_dies_alone_later
                a_bystander_is_never_charged_however_often_others_crash
                a_suspect_is_given_only_to_who_asks_for_it_alone
                a_suspect_is_given_only_to_who_holds_nothing_else
                who_holds_a_suspect_is_given_nothing_more_until_it_is_settled
                who_asks_for_a_suspect_is_given_nothing_else
                a_suspect_needs_room_as_any_other_task
                suspects_keep_their_order
                a_suspect_that_came_back_alive_is_one_no_more
                a_suspect_that_was_handed_back_is_one_still
                suspects_are_told_of_also_when_their_kind_has_no_room_left_in_this_claim
                a_request_for_a_suspect_that_is_sent_again_is_answered_with_the_same_one
                a_rescued_task_keeps_its_place
                a_rescued_task_has_what_it_was_enqueued_with
                a_rescue_takes_no_more_than_its_limit_and_says_when_to_ask_again
                nothing_is_taken_back_for_one_lease_after_the_start
                nothing_is_taken_back_for_one_lease_after_a_silence
                a_short_silence_holds_up_no_rescue
                a_clock_that_jumps_ahead_and_back_holds_up_rescues_for_one_lease
                who_rescues_another_process_sees_its_claims_through_any_handle
            ]
            budgets: [
                each_verdict_costs_its_own
                what_it_cost_goes_with_the_next_claim
                a_crash_is_no_error_and_an_error_is_no_crash
                snoozes_and_interruptions_never_use_a_task_up
                the_crash_budget_is_that_of_who_rescues
            ]
            attempts: [
                each_verdict_that_ends_no_task_leaves_its_attempt
                an_attempt_is_dated_by_the_stores_clock
                attempts_are_told_in_order_with_epoch_and_holder
                each_rescue_that_ends_no_task_leaves_its_attempt
                a_rescue_dates_the_attempt_that_it_takes_back
                an_interrupted_attempt_that_returns_after_all_is_what_it_says
                no_more_than_the_last_sixteen_attempts_are_kept
                what_changes_nothing_leaves_no_attempt
                a_request_that_turns_a_verdict_into_an_end_leaves_no_attempt
                who_held_a_task_when_it_ended_is_told
                who_held_a_task_that_a_rescue_ended_is_told
                attempts_go_with_their_task
            ]
            delay: [
                a_delayed_task_is_never_early_and_needs_no_promotion
                an_instant_is_kept_to_the_microsecond
                a_retry_and_a_snooze_are_never_early
                a_promotion_tells_what_is_due_next
                promotions_of_a_few_at_a_time_come_to_an_end
                a_promotion_of_none_only_looks
                a_cancelled_delay_is_no_longer_due
                a_herd_that_is_due_at_one_instant_is_claimed_in_its_order
            ]
            schedule: [
                every_sort_of_schedule_comes_back_as_it_was_put
                the_same_definition_is_the_same_revision
                another_definition_is_the_next_revision_with_a_new_anchor
                a_tick_moves_the_mark_and_inserts_its_task_in_one_step
                an_instant_is_done_once_whoever_sees_it
                two_processes_fire_an_instant_once
                the_mark_only_rises
                a_tick_from_another_mark_is_stale_also_if_it_would_go_further
                a_tick_of_an_older_revision_is_stale
                another_definition_does_not_let_the_mark_fall
                a_clock_that_is_set_back_does_not_let_the_mark_fall
                an_overlap_is_skipped_until_the_last_task_has_ended
                another_definition_does_not_overlap_with_the_task_of_the_one_before
                an_overlap_is_allowed_where_the_schedule_says_so
                missed_instants_are_given_up_by_a_tick_without_a_task
                a_tick_whose_key_is_taken_only_moves_the_mark
                a_tick_holds_the_key_of_its_task
                a_removed_schedule_is_gone
                schedules_are_told_apart_by_name
                the_bound_of_a_store_does_not_apply_to_ticks
            ]
            cancel: [
                a_task_that_waits_ends_at_once_and_never_starts
                a_task_out_of_the_middle_leaves_the_order_of_the_others
                a_suspect_is_cancelled_like_any_other
                an_active_task_is_marked_and_its_holder_told
                a_request_beats_retry_snooze_return_and_park
                an_attempt_that_is_not_made_again_is_not_counted_as_if
                an_attempt_that_ends_the_task_after_the_request_ends_it_as_it_says
                a_request_ends_the_task_at_its_rescue_and_costs_nothing
                a_request_outlives_an_interruption_and_others_crashes
                requests_are_answered_in_order
                a_request_reaches_the_holder_from_any_process
            ]
            pause: [
                a_paused_queue_gives_out_nothing_until_it_is_resumed
                what_is_active_goes_on_in_a_paused_queue
                a_request_that_is_sent_again_gets_its_claims_also_in_a_paused_queue
                a_queue_may_be_paused_before_its_first_task
                a_pause_outlives_the_tasks_of_its_queue
                delays_come_due_in_a_paused_queue
                a_pause_holds_for_every_process
                the_paused_queues_are_told_by_name
            ]
            wake: [
                what_is_enqueued_is_told
                what_another_process_enqueues_is_told
                what_a_settle_makes_claimable_is_told
                a_delay_is_told_by_its_due_time
                what_is_promoted_is_told
                what_is_rescued_is_told
                what_a_resumed_queue_has_is_told
                room_in_a_bounded_store_is_told
                ends_are_told_to_who_watches_them_and_to_nobody_else
                a_request_to_cancel_a_running_task_is_told
                a_schedule_that_is_put_replaced_or_removed_is_told
                a_listener_that_is_gone_harms_nobody
            ]
            inspect: [
                each_filter_leaves_what_matches_and_all_of_them_together
                tasks_are_found_by_the_time_in_their_ids
                tasks_are_found_by_when_they_are_due
                tasks_of_every_state_are_found
                pages_neither_skip_nor_repeat
                pages_of_a_filter_neither_skip_nor_repeat
                what_comes_between_two_pages_moves_nothing
                a_page_has_a_hundred_tasks_unless_it_is_told_otherwise
                an_empty_store_has_an_empty_page
            ]
            ends: [
                ends_are_told_in_order
                ends_are_pruned_when_they_are_older_than_the_retention
                the_age_of_an_end_is_counted_from_the_end
                only_so_many_ends_are_kept_the_newest
                what_is_forgotten_stays_counted
                a_forgotten_task_can_be_settled_no_more
                a_key_outlives_the_end_of_nobody
            ]
            payload: [
                bytes_in_are_bytes_out
                the_name_of_the_codec_is_kept_with_the_bytes
                a_payload_of_a_mebibyte_is_carried
                several_large_payloads_go_in_one_batch
                children_and_ticks_carry_payloads_too
                a_store_that_encodes_nothing_gives_values_back_as_they_are
            ]
            extremes: [
                every_valid_name_is_carried_as_it_is
                the_longest_names_are_carried
                names_that_no_store_need_carry_are_refused_before_it
                a_schedule_may_have_any_valid_name
                a_settle_takes_any_text_for_a_reason
                every_priority_has_its_place
                a_delay_beyond_all_time_is_no_overflow
                a_start_before_all_time_is_due_and_comes_first
                a_task_may_say_any_number
                every_number_is_an_id
                every_number_is_a_process_and_a_token
                limits_and_rooms_may_be_without_bounds
                a_lease_without_end_is_no_overflow
            ]
            counters: [
                a_new_store_has_counted_nothing
                what_happens_is_counted_by_queue_and_kind
                a_duplicate_is_counted_where_it_was_offered
                the_numbers_agree_with_the_tasks_at_every_step_of_a_life
                panics_and_timeouts_are_counted_beside_the_verdict
            ]
            durability: [
                the_store_says_how_durable_it_is
                what_is_more_durable_than_memory_outlives_its_handle
                a_store_that_is_behind_no_wire_answers_at_once
                the_clock_does_not_stand_still_nor_go_back_by_itself
            ]
            crowd: [
                each_task_is_given_out_once
                one_of_many_with_the_same_key_is_accepted
                an_id_that_many_send_at_once_is_one_task
                batches_with_the_same_keys_in_another_order_do_not_block_each_other
                of_many_settles_of_one_attempt_one_takes_effect
                settles_of_the_same_tasks_in_another_order_do_not_block_each_other
                an_instant_that_many_see_is_fired_once
                a_task_is_either_cancelled_or_claimed
                a_lease_is_either_renewed_or_taken_back
                a_crash_is_found_once_however_many_look
                suspects_are_given_to_one_process_each
                everything_at_once_adds_up
            ]
            dropped: [
                an_enqueue_that_is_dropped_and_sent_again_is_one_task
                a_claim_that_is_dropped_and_sent_again_holds_what_it_gets
                a_settle_that_is_dropped_and_sent_again_takes_effect_once
                a_tick_that_is_dropped_and_sent_again_fires_once
                a_crash_is_charged_once_whoever_drops_the_rescue
                many_dropped_calls_use_nothing_up
            ]
            transaction: [
                what_is_enqueued_is_there_if_and_only_if_it_commits
                a_known_id_is_accepted_again_in_it_and_nothing_happens
                a_key_is_checked_in_it
                a_key_goes_to_its_heir_if_it_commits
                a_key_that_it_holds_is_taken_until_its_end
                a_settle_that_is_rolled_back_leaves_the_attempt_as_it_was
                a_settle_that_commits_ends_the_task_once
                a_verdict_does_in_it_what_it_does_elsewhere
                children_come_with_the_settle_if_it_commits
                a_settle_whose_fence_is_not_current_changes_nothing_in_it
                an_open_one_is_in_nobodys_way
                what_it_settles_is_busy_and_not_taken_back
                others_are_told_of_it_when_it_has_committed
            ]
            model: [
                any_calls_are_answered_as_by_the_reference
                any_calls_are_answered_as_by_the_reference_in_a_bounded_store
            ]
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_tests {
    ($($group:ident: [$($case:ident)*])*) => {
        $(
            mod $group {
                $(
                    #[test]
                    fn $case() {
                        $crate::store_suite::run(
                            super::harness_of_the_suite(),
                            concat!(stringify!($group), "::", stringify!($case)),
                            $crate::store_suite::cases::$group::$case,
                        );
                    }
                )*
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_names {
    ($($group:ident: [$($case:ident)*])*) => {
        &[$($(concat!(stringify!($group), "::", stringify!($case)),)*)*]
    };
}

/// Makes the test that shows that the suite catches what is planted in a store. It plants in the
/// whole process, so it runs alone.
#[cfg(conveyor_plant)]
#[doc(hidden)]
#[macro_export]
macro_rules! store_plants {
    () => {
        #[test]
        #[ignore = "no other test may run beside it"]
        fn each_planted_bug_is_caught() {
            $crate::store_suite::plants::catch(harness_of_the_suite);
        }
    };
}

#[cfg(conveyor_plant)]
#[doc(hidden)]
#[macro_export]
macro_rules! __store_list {
    ($($group:ident: [$($case:ident)*])*) => {
        &[$($((
            concat!(stringify!($group), "::", stringify!($case)),
            $crate::store_suite::cases::$group::$case,
        ),)*)*]
    };
}

/// All cases, with their names.
#[cfg(conveyor_plant)]
pub(super) const CASES: &[(&str, super::Case)] = __store_cases!(__store_list);

/// The names of all cases.
pub(super) const NAMES: &[&str] = __store_cases!(__store_names);
