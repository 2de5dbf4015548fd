"""Inputs and strikes that once went wrong, and the tests that hold what is right of each: none goes by a new name.

Where a file shows it, it lies in `fixtures/cases` or `fixtures/files` under the number.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
AS_PEOPLE_HAVE_THEM = "core/formats/test_events_as_people_have_them.py"
DAMAGE, DOCUMENTS, LOG = "connectors/test_store_damage.py", "core/test_refusals.py", "core/test_log_identity.py"
ONCE_WRONG = "core/test_once_wrong.py"
LIMITS, FAULTS = "connectors/test_pgvector_limits.py", "connectors/test_opensearch_faults.py"
FOLDER, LOADING, PARSING = "connectors/test_local_files.py", "udfs/test_loading.py", "udfs/test_parsing.py"

CASES: dict[str, tuple[str, ...]] = {
    "01: MySQL's compressed transaction ends in its last row": (
        f"{AS_PEOPLE_HAVE_THEM}::test_compressed_transactions_of_mysql",
        "core/test_key_columns_of_mysql.py::test_in_several_partitions_documents_and_records_end_as_the_rows_do",
    ),
    "02: partitions of PostgreSQL are their root's": (f"{AS_PEOPLE_HAVE_THEM}::test_partitions_of_postgresql",),
    "04: unwrapped rows in schema envelopes are rows": (
        f"{AS_PEOPLE_HAVE_THEM}::test_unwrapped_rows_in_schema_envelopes",
    ),
    "05: a schema registry is named": (f"{AS_PEOPLE_HAVE_THEM}::test_schema_registries_are_named",),
    "06, 07: connectors that aren't read are named": (
        f"{AS_PEOPLE_HAVE_THEM}::test_connectors_that_are_not_read_are_named",
    ),
    "08: markers of folders and jobs are no documents": (
        "core/formats/test_s3.py::test_markers_of_folders_and_jobs_are_no_documents",
        f"{LOADING}::test_markers_have_no_rows_and_the_rows_that_they_had_go",
    ),
    "09, 11, 12, 14, 15: files of rows as they are written": (f"{PARSING}::test_rows_as_people_have_them",),
    "16, 17; redos.py, letters4.py: time is linear in a text": (
        "test_growth.py::test_no_pattern_takes_more_time_than_the_text_is_long",
        "test_growth.py::test_no_function_takes_more_time_than_the_text_is_long",
        "udfs/test_tokenizing.py::test_a_text_of_blanks_behind_a_title_is_cut_at_once",
        f"{LOADING}::test_every_kind_of_file_has_a_deadline",
    ),
    "18: people are who they are": ("core/test_identifiers.py::test_people_are_who_they_are",),
    "19: JSON is an object, bits are bits": (f"{AS_PEOPLE_HAVE_THEM}::test_json_and_bits",),
    "20: no encoded value is stored as if it were one": (
        f"{AS_PEOPLE_HAVE_THEM}::test_what_nothing_tells_is_refused_by_name",
        "core/formats/test_debezium_values.py::test_a_number_of_no_known_type_keeps_its_digits",
        "operations/test_column_types.py::test_each_doubtful_column_is_named_once_with_what_it_may_be",
        "operations/test_column_types.py::test_check_names_them_and_the_sources_database_tells_them",
    ),
    "21: keys that aren't needed": (f"{AS_PEOPLE_HAVE_THEM}::test_keys_that_are_not_needed",),
    "23: what is hidden isn't read": (f"{PARSING}::test_what_a_page_hides_is_not_said",),
    "H1; profile_toast.py: a refused change leaves no old value behind": (
        f"{ONCE_WRONG}::test_an_update_that_was_refused_leaves_no_old_text_behind_and_later_changes_end_with_the_new_one",
        f"{DOCUMENTS}::test_a_document_tells_the_truth_or_a_dead_letter_does",
        f"{DOCUMENTS}::test_when_all_dead_letters_are_replayed_the_documents_are_equal",
        "core/test_profiles_records.py::test_a_record_that_was_refused_leaves_no_old_value_behind",
    ),
    "H2: a database restored is refused at the start": (
        f"{LOG}::test_another_database_voids_positions",
        "connectors/test_log_identity.py::test_postgres_tells_its_system_and_its_timeline",
        f"{LOG}::test_a_snapshot_of_a_restored_source_is_an_alarm_after_however_many_good_ones",
    ),
    "H3: two databases of one table": (
        "core/test_sources.py::test_a_second_database_is_refused_with_both_names_and_the_remedy",
        "core/test_sources.py::test_with_the_source_in_the_id_each_database_has_documents_and_marks_of_its_own",
    ),
    "H4: deferrable keys": (f"{AS_PEOPLE_HAVE_THEM}::test_deferrable_keys",),
    "H5; live_recreate.py: a topic made anew": (
        f"{LOG}::test_where_positions_are_places_in_the_topic_they_are_void_too",
        "connectors/test_log_identity.py::test_a_topic_made_anew_is_reported_before_anything_is_read",
    ),
    "H6: text positions of differing width": (
        f"{AS_PEOPLE_HAVE_THEM}::test_text_positions_of_differing_width_are_refused",
    ),
    "H7: position settings that changed": (
        f"{LOG}::test_position_settings_that_changed_are_reported",
        f"{LOG}::test_a_changed_format_is_reported",
    ),
    "H8: a table that looks like signals is one": (
        "core/formats/test_debezium.py::test_a_table_that_looks_like_signals_has_rows",
    ),
    "H9: keys of other kinds": (f"{AS_PEOPLE_HAVE_THEM}::test_keys_of_other_kinds_get_two_ids_or_are_refused",),
    "store_holes.py: one owner, and a changed model is named": (
        "connectors/test_store_owner.py::test_a_later_run_takes_over_and_the_earlier_writes_nothing",
        "operations/test_owning.py::test_a_changed_file_is_refused_until_it_is_said_what_becomes_of_what_is_there",
        f"{DAMAGE}::test_clearing_takes_what_the_ledger_does_not_know",
        f"{DAMAGE}::test_a_chunk_that_the_ledger_does_not_know_is_read",
    ),
    "ledger_hole.py: a live document is never forgotten": (
        f"{DAMAGE}::test_what_came_back_at_its_deletions_position_is_never_forgotten",
    ),
    "live_damage.py: each damage is found, and mended": (
        f"{DAMAGE}::test_damage_is_found_and_mended",
        "operations/test_verify.py::test_foreign_documents_are_kept_apart_from_ghosts",
        "operations/test_verify.py::test_a_replaced_vector_is_found_by_the_sample_and_only_by_it",
    ),
    "live_big.py: a letter always fits": (
        "core/test_letters.py::test_a_letter_always_fits_and_says_what_happened",
        "flink_jobs/test_never_stopped.py::test_no_letter_and_no_killed_idle_worker_stops_a_job",
    ),
    "slowloris.py, serve2.py: others are served, memory is bounded": (
        "serving/test_http_server.py::test_half_sent_heads_shut_nobody_out_and_have_an_end",
        "serving/test_http_server.py::test_half_sent_bodies_shut_nobody_out",
        "serving/test_http_server.py::test_bodies_of_requests_under_way_are_held_to_the_amount",
    ),
    "upload.py: nobody uploads to the job": ("flink_jobs/test_metrics.py::test_no_page_has_the_job_run_its_code",),
    "fuzz2.py: no crash, no reason that is too long": (
        "core/formats/test_debezium_fuzz.py::test_mutated_real_events",
        "core/formats/test_feeds_fuzz.py::test_mutated_events",
    ),
    "folder_prefix.py: a link hides no deletion": (f"{FOLDER}::test_a_link_that_is_left_out_hides_nothing_else",),
    "folder_chmod.py: a file is read when it can be": (
        f"{FOLDER}::test_a_file_that_cannot_be_read_is_reported_again_when_it_can",
    ),
    "bombs.py, bombs2.py, loader_mem.py: files cost what they may": (
        "udfs/test_bombs.py::test_a_file_costs_what_it_may_and_the_next_is_read",
        f"{LOADING}::test_bombs_are_refused_and_the_next_file_is_read",
        f"{LOADING}::test_a_parser_that_takes_too_much_memory_or_crashes_is_an_error",
        f"{LOADING}::test_rows_that_nobody_has_forgotten_are_bounded",
        f"{LOADING}::test_a_slow_file_is_put_aside_and_others_go_on",
    ),
    "sweep_lost.py: the sweep comes": (
        "flink_jobs/test_ends_of_snapshots.py::test_a_null_in_a_column_that_key_names_keeps_nothing_from_being_swept",
        "flink_jobs/test_ends_of_snapshots.py::test_a_row_that_cannot_be_read_keeps_nothing_from_being_swept",
        "flink_jobs/test_ends_of_snapshots.py::test_another_databases_snapshot_sweeps_nothing_and_the_log_says_why",
    ),
    "grown_min.py, model_grown.py, model_check.py: random histories": (
        f"{ONCE_WRONG}::test_a_topic_that_grew_ends_with_the_new_text_though_a_later_change_was_read_before_it",
        "core/test_grown_topic.py::test_what_comes_late_of_a_row_that_moved_reaches_its_new_document",
        "core/test_model.py::test_no_document_is_wrong_without_a_word",
    ),
    "learned_stale.py: a deleted row's text never comes back": (
        f"{ONCE_WRONG}::test_a_deleted_rows_text_never_comes_back_with_the_next_row_of_its_key",
        "core/test_forgetting.py::test_what_was_learned_of_a_truncated_row_stays_no_longer_where_another_comes_to_its_key",
        "core/test_grown_topic.py::test_ways_are_forgotten_and_what_was_learned_goes_with_the_row",
    ),
    "clock_ahead.py: a clock that was ahead is said": (
        "core/test_clocks.py::test_a_store_that_is_ahead_is_named_with_its_time_and_the_ways_on",
        "operations/test_check.py::test_a_store_that_stands_at_a_time_to_come_is_warned_of",
    ),
    "pg_live.py: no document's size or time stops the rest, and what is wrong is named": (
        f"{LIMITS}::test_a_document_that_takes_too_long_is_written_in_steps",
        f"{LIMITS}::test_metadata_travels_once_a_document_whatever_its_chunks",
        f"{LIMITS}::test_a_session_that_may_only_read_is_reported_as_such",
        f"{LIMITS}::test_an_extension_that_was_dropped_is_named",
        "connectors/test_pooler.py::test_writers_share_the_sessions",
    ),
    "os_live.py: an index that is gone, shared or at fault is named": (
        f"{FAULTS}::test_an_index_that_was_deleted_is_not_made_by_writing",
        f"{FAULTS}::test_what_is_gone_is_named_with_what_to_do",
        f"{FAULTS}::test_an_alias_is_an_index_as_long_as_it_is_of_one",
        f"{FAULTS}::test_a_pipeline_that_is_not_there_is_the_indexs_fault",
        f"{FAULTS}::test_a_document_that_is_too_large_is_rejected_alone",
    ),
    "grow.py, gen.py: new partitions are found soon, state stays level": (
        "flink_jobs/test_settling.py::test_a_topic_grows_while_a_half_waits_and_a_truncated_row_is_forgotten",
        "flink_jobs/test_forgetting.py::test_a_truncated_document_is_forgotten_and_its_next_change_begins_anew",
    ),
}


@cache
def named(file: str) -> frozenset[str]:
    """The functions of a file of tests."""
    parsed = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(each.name for each in ast.walk(parsed) if isinstance(each, ast.FunctionDef))


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_held_by_a_test(case: str) -> None:
    for each in CASES[case]:
        file, _, name = each.partition("::")
        assert name in named(file), f"{case}: {each} is gone; what holds it now?"
