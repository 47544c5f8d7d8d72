//! How RocksDB is set up: sealed values of about 2 KB under uniformly hashed keys, one writer, point reads, a tenth of
//! them misses.

use std::sync::Arc;

use eventlog::LogClock;
use rocksdb::{BlockBasedOptions, BlockBasedTablePinningTier, DBCompressionType, Options};

use super::{ViewMemory, filter::DeadCells};

/// Two to three sessions of 2 KB to a block: less index than at 4 KB, less to read than at 16.
const BLOCK_BYTES: usize = 8 * 1024;

/// About 1 % of the misses reach a block.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

/// Every file is rewritten at least this often, so that dead cells in cold files return their space.
const COMPACT_EVERY_S: u64 = 24 * 3600;

pub(super) fn db_options(memory: &ViewMemory, clock: Arc<LogClock>) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);

    // One apply thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_write_buffer_manager(&memory.memtables);
    options.set_write_buffer_size(memory.memtable_bytes());
    options.set_max_background_jobs(2);

    // Sealed values do not compress.
    options.set_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_bytes_per_sync(1024 * 1024);
    options.set_compaction_filter_factory(DeadCells { clock });
    options.set_periodic_compaction_seconds(COMPACT_EVERY_S);

    options.set_block_based_table_factory(&table_options(memory));
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.05);
    options.set_max_open_files(-1);
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options
}

fn table_options(memory: &ViewMemory) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.blocks);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_optimize_filters_for_memory(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_unpartitioned_pinning_tier(BlockBasedTablePinningTier::All);
    table
}
