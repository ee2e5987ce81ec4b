# SPDX-License-Identifier: Apache-2.0
# Decoding speed against the tokens in front of it, from results/speed_peers.csv: engines in
# turns on one file (the last of each context; bars: slowest and fastest round), this one alone
# behind 65,536 tokens.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/speed_by_depth.gp
if (!exists("table")) table = 'notebooks_data/results/speed_peers.csv'
if (!exists("out")) out = 'speed_by_depth.svg'

set terminal svg size 1000,460 font 'sans,13' background rgb 'white' enhanced
set output out
set datafile separator ','
# depth, median, low, high, bound of one engine's rows of a test on one file with two threads
row(engine, model, test) = sprintf("< awk -F, -v e='%s' -v m='%s' -v t='%s' '$4 == 2 && $6 == m && $8 == e && " \
    . "index($9, t) == 1 { d = $9; if (!sub(/.*@ d/, \"\", d)) d = 0; " \
    . "if ($10 == \"rate\") v[d, \"low\"] = v[d, \"high\"] = \"\"; v[d, $10] = $11; k[d] = 1 } " \
    . "END { for (d in k) printf \"%%d,%%s,%%s,%%s,%%s\\n\", d, v[d, \"rate\"], v[d, \"low\"], " \
    . "v[d, \"high\"], v[d, \"bound\"] }' %s | sort -t, -n", engine, model, test, table)
engines = system(sprintf("awk -F, 'NR > 1 { print $8 }' %s | sort -ru | tr '\n' ' '", table))
shown(e) = e eq 'opt' ? 'this engine' : e
colour(e) = e eq 'opt' ? '#0072b2' : e eq 'ik_llama.cpp' ? '#e69f00' : '#009e73'

set grid ytics lc rgb '#dddddd' lw 0.7
set border 3 lc rgb '#555555'
set tics nomirror out
set key outside bottom center horizontal samplen 2
set xlabel 'tokens of context'
set ylabel 'tokens a second'
set xtics ('0' 0, '4k' 4096, '16k' 16384, '32k' 32768, '64k' 65536)
set yrange [0:*]
set multiplot layout 1,2 title 'Decoding behind a context: 12B shape, Q4\_0, two threads of a Zen 5'
set title 'all 48 layers, in turns'
set xrange [-300:*]
plot for [e in engines] row(e, 'synth-12b-q4_0.gguf', 'tg32') using 1:2:3:4 with yerrorbars \
        pt 7 ps 0.6 lc rgb colour(e) notitle, \
    for [e in engines] row(e, 'synth-12b-q4_0.gguf', 'tg32') using 1:2 with lines lw 2 \
        lc rgb colour(e) title shown(e) noenhanced
set title '12 of the 48 layers, in turns; 64k alone'
set xrange [-2500:*]
plot for [e in engines] row(e, 'synth-12b-12layers-q4_0.gguf', 'tg') using 1:2:3:4 with \
        yerrorbars pt 7 ps 0.6 lc rgb colour(e) notitle, \
    for [e in engines] row(e, 'synth-12b-12layers-q4_0.gguf', 'tg') using 1:2 with lines lw 2 \
        lc rgb colour(e) title shown(e) noenhanced, \
    row('opt', 'synth-12b-12layers-q4_0.gguf', 'tg') using 1:5 with linespoints pt 0 lw 1.5 \
        dt 3 lc rgb '#555555' title 'what reading memory allowed then'
unset multiplot
